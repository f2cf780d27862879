"""The tree: what it holds, what a second call does, whose folder it may be, and who writes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from biodist.aggregation.runs import find_runs, read_run
from biodist.aggregation.tree import Tree
from biodist.aggregation.tree_state import Update
from biodist.errors import MachineCannot, UserError


def update(runs: Path, out: Path, group_by: tuple[str, ...] = (), processes: int = 1) -> Update:
    with Tree.prepare(out).writing() as writer:
        return writer.update(find_runs([runs]), group_by, processes)


def accumulated(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def files(out: Path) -> dict[str, bytes]:
    """The tree's event files, without those that were emptied for readers that follow."""
    found = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("events*"))}
    return {name: data for name, data in found.items() if data}


def contents(out: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    return {str(Path(name).parent): accumulated(out / Path(name).parent) for name in files(out)}


@pytest.fixture
def runs(tmp_path: Path, events: Any) -> Path:
    """Two rates, two seeds each, one of them killed and resumed; and a foreign run."""
    root = tmp_path / "runs"
    for number, rate in enumerate((1e-5, 1e-5, 3e-5, 3e-5)):
        settings = {"train": {"learning_rate": rate, "seed": number}, "evaluate": {"metric": "f1"}}
        attempts = [(0, 25), (20, 40)] if number == 1 else [(0, 30 + 10 * number)]
        events.own_run(root / f"run-{number}", attempts, settings, ranks=2, seed=number)
    made = [events.version(), *(events.scalar("train/loss", step, 1 / step) for step in range(1, 60))]
    events.write(root / "foreign/events.out.tfevents.1", made)
    return root


def test_every_run_is_in_the_tree_as_it_was_read(runs: Path, tmp_path: Path) -> None:
    done = update(runs, tmp_path / "out")
    assert (done.runs, done.written, done.dropped, done.unreadable) == (5, 5, 5, 0)
    for place in find_runs([runs]):
        found = accumulated(tmp_path / "out/runs" / place.name)
        view = read_run(place)
        assert {"ranks/step_seconds/median", "validation/f1/Disease"} <= set(found) or place.kind == "foreign"
        assert not {"train/tokens", "validation/support/Disease"} & set(found)
        for tag, points in found.items():
            if tag.startswith("run/"):
                continue
            one = view.series[tag]
            assert points == list(zip(one.steps.tolist(), one.values.astype(np.float32).tolist(), strict=True))


def test_restarts_are_marked(runs: Path, tmp_path: Path) -> None:
    update(runs, tmp_path / "out")
    found = accumulated(tmp_path / "out/runs/run-1")
    assert found["run/attempt"] == [(1, 1.0), (21, 2.0), (40, 2.0)]
    assert found["run/processes"] == [(1, 2.0), (21, 2.0), (40, 2.0)]
    assert "run/attempt" not in accumulated(tmp_path / "out/runs/run-0")
    text = b"".join(files(tmp_path / "out/runs/run-1").values())
    assert b"| 2 | finished | 21 to 40 | 2 | ddp | node1 |" in text
    assert b"attempt 2 went on from step 20; attempt 1 was killed" in text


def test_groups_are_those_of_their_members(runs: Path, tmp_path: Path) -> None:
    done = update(runs, tmp_path / "out", ("train.learning_rate",))
    assert done.groups == 3
    group = tmp_path / "out/groups/train.learning_rate=1e-05"
    one, other = (dict(accumulated(tmp_path / f"out/runs/run-{n}")["train/loss"]) for n in (0, 1))
    mean, sd = dict(accumulated(group / "mean")["train/loss"]), dict(accumulated(group / "sd")["sd/train/loss"])
    count = dict(accumulated(group / "count")["count/train/loss"])
    assert [count[step] for step in (1, 30, 31, 40)] == [2, 2, 1, 1]
    assert max(sd) == 30
    for step in (1, 17, 30):
        assert mean[step] == pytest.approx((one[step] + other[step]) / 2, rel=1e-6)
        assert sd[step] == pytest.approx(abs(one[step] - other[step]) / 2**0.5, rel=1e-4)
        assert accumulated(group / "max")["train/loss"][step - 1][1] == max(one[step], other[step])
    assert not any(tag.startswith("run/") for tag in accumulated(group / "mean"))


def test_a_large_group_is_reduced_in_parts(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update(runs, tmp_path / "at-once", ("name",))
    monkeypatch.setattr("biodist.aggregation.tree._PART", 2)
    update(runs, tmp_path / "in-parts", ("name",))
    at_once, in_parts = contents(tmp_path / "at-once"), contents(tmp_path / "in-parts")
    assert at_once.keys() == in_parts.keys()
    for folder, tags in at_once.items():
        assert tags.keys() == in_parts[folder].keys()
        for tag, points in tags.items():
            assert np.array(in_parts[folder][tag]) == pytest.approx(np.array(points), rel=1e-6)


def test_parts_of_a_large_group_are_kept_and_never_out_of_date(
    tmp_path: Path, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biodist.aggregation.tree._PART", 2)
    runs, out = tmp_path / "runs", tmp_path / "out"
    for number in range(6):
        settings = {"train": {"learning_rate": 1.0, "seed": number}}
        events.own_run(runs / f"{number}", [(0, 20)], settings, seed=number)
    update(runs, out, ("train.learning_rate",))
    parts = set((out / ".parts").iterdir())
    assert len(parts) == 3
    shutil.rmtree(runs / "5")
    events.own_run(runs / "5", [(0, 30)], {"train": {"learning_rate": 1.0, "seed": 5}}, seed=5)
    next(iter(parts)).write_bytes(b"PK damaged")
    update(runs, out, ("train.learning_rate",))
    now = set((out / ".parts").iterdir())
    assert len(now) == 3 and len(now & parts) == 2
    update(runs, tmp_path / "anew", ("train.learning_rate",))
    assert contents(out) == contents(tmp_path / "anew")
    update(runs, out)
    assert not list((out / ".parts").iterdir())


def test_a_second_call_writes_nothing(runs: Path, tmp_path: Path) -> None:
    update(runs, tmp_path / "out", ("train.seed",))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("events*")}
    done = update(runs, tmp_path / "out", ("train.seed",))
    assert (done.unchanged, done.written, done.grown) == (5, 0, 0)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("events*")}


def test_growing_comes_to_the_same_as_at_once(tmp_path: Path, events: Any) -> None:
    """Step by step, with torn tails, a restart, a new run and one that goes: as if made in one call."""
    runs, out = tmp_path / "runs", tmp_path / "out"
    file = runs / "foreign/events.out.tfevents.1"
    events.write(file, [events.version(), *(events.scalar("loss", step, step) for step in range(1, 30))])
    own = events.own_run(runs / "own", [(0, 20)], status=None)
    own.lease.touch()
    events.own_run(runs / "gone", [(0, 20)])
    group_by = ("name",)
    update(runs, out, group_by)
    names = set(files(out))

    events.add(file, [events.scalar("loss", step, step) for step in range(30, 50)])
    file.write_bytes(file.read_bytes()[:-9])
    log = own.attempts()[0].events(0)
    more = events.own_run(tmp_path / "longer", [(0, 35)]).attempts()[0].events(0).read_text().splitlines(keepends=True)
    log.write_text("".join(more[:-1]) + more[-1][:9])
    done = update(runs, out, group_by)
    assert done.grown == 2 and done.unchanged == 1
    grown = {name for name in files(out) if name.startswith("runs/")}
    assert grown <= names, "growth goes to the end of the file that is there"

    events.add(file, [events.scalar("loss", 60, 1.0)])  # after the torn tail: found again, and named
    events.write(runs / "new/events.out.tfevents.1", [events.scalar("loss", 1, 1.0)])
    shutil.rmtree(runs / "gone")
    done = update(runs, out, group_by)
    assert (done.removed, done.damaged) == (1, 1)
    events.write(
        runs / "foreign/events.out.tfevents.2", [events.version(), events.start(40), events.scalar("loss", 45, 7.0)]
    )
    update(runs, out, group_by)
    assert not (out / "runs/gone").exists()

    update(runs, tmp_path / "at-once", group_by)
    assert contents(out) == contents(tmp_path / "at-once")
    steps = [step for step, _ in contents(out)["runs/foreign"]["loss"]]
    assert steps == [*range(1, 40), 45]


def test_two_processes_come_to_the_same_as_one(tmp_path: Path, events: Any) -> None:
    for number in range(10):
        made = [events.scalar("loss", step, step * number) for step in range(1, 20)]
        events.write(tmp_path / f"runs/{number}/events.out.tfevents.1", made)
    update(tmp_path / "runs", tmp_path / "one", processes=1)
    update(tmp_path / "runs", tmp_path / "two", processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("harm", ["cut", "removed", "state", "no state"])
def test_a_tree_that_was_harmed_is_made_again(runs: Path, tmp_path: Path, harm: str) -> None:
    out = tmp_path / "out"
    update(runs, out, ("train.seed",))
    wanted = contents(out)
    for path in (*out.rglob("runs/run-0/events*"), *out.rglob("groups/*0/mean/events*")):
        if harm == "cut":
            path.write_bytes(path.read_bytes()[:-40])
        elif harm == "removed":
            path.unlink()
    if harm == "state":
        (out / "biodist-tree.json").write_text("{")
    update(runs, out, ("train.seed",))
    assert contents(out) == wanted


def test_runs_of_which_some_cannot_be_read(runs: Path, tmp_path: Path) -> None:
    log = runs / "run-2/attempts/0001/events-rank-0.jsonl"
    log.write_text("nonsense\n" + log.read_text())
    done = update(runs, tmp_path / "out", ("train.learning_rate",))
    assert done.unreadable == 1 and done.written == 4
    assert [problem.where for problem in done.problems] == [str(runs / "run-2")]
    assert f"{log}:1" in done.problems[0].what
    again = update(runs, tmp_path / "out", ("train.learning_rate",))
    assert again.unreadable == 1 and again.unchanged == 4


def test_somebody_elses_folder_is_refused(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    (tmp_path / "file").touch()
    for out in (tmp_path / "mine", tmp_path / "file", runs / "run-0"):
        with pytest.raises(UserError, match="--out"):
            Tree.prepare(out)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_one_writer_a_tree(runs: Path, tmp_path: Path) -> None:
    """Another process holds it; killed, it is replaced."""
    program = (
        "import sys, time; from pathlib import Path; from biodist.aggregation.tree import Tree\n"
        "with Tree.prepare(Path(sys.argv[1])).writing(): print('holds', flush=True); time.sleep(100)"
    )
    out = tmp_path / "out"
    holder = subprocess.Popen([sys.executable, "-c", program, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "holds\n"
        with pytest.raises(MachineCannot, match=f"another command writes this tree.*process {holder.pid}"):
            update(runs, out)
    finally:
        holder.kill()
        holder.communicate()
    assert update(runs, out).written == 5


def test_who_was_replaced_writes_no_more(runs: Path, tmp_path: Path) -> None:
    tree = Tree.prepare(tmp_path / "out")
    with tree.writing() as writer:
        lease = tree.root / ".writer/lease.json"
        lease.write_text(lease.read_text().replace(writer.fence.token, "0" * 32))
        with pytest.raises(MachineCannot, match="has taken this run over"):
            writer.update(find_runs([runs]))
    assert not (tree.root / "runs").exists()


def test_an_unknown_key_keeps_what_was_read(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.sed"):
        update(runs, tmp_path / "out", ("train.sed",))
    assert update(runs, tmp_path / "out").unchanged == 5


def test_a_tree_of_sensitive_runs_is_its_owners(tmp_path: Path, events: Any) -> None:
    events.own_run(tmp_path / "open/a", [(0, 10)], {"data": {"sensitive": False}})
    events.own_run(tmp_path / "closed/a", [(0, 10)], {"data": {"sensitive": True}})
    for name, mode in (("open", 0o755), ("closed", 0o700)):
        (tmp_path / f"tree-{name}").mkdir(mode=0o755)
        update(tmp_path / name, tmp_path / f"tree-{name}")
        assert (tmp_path / f"tree-{name}").stat().st_mode & 0o777 == mode


def test_labels_that_are_no_names_of_folders(tmp_path: Path, events: Any) -> None:
    for number, name in enumerate(("a/b", "a_b", "x" * 300)):
        events.own_run(tmp_path / f"runs/{number}", [(0, 10)], {"model": {"name": name}})
    done = update(tmp_path / "runs", tmp_path / "out", ("model.name",))
    assert done.groups == 3 and len(list((tmp_path / "out/groups").iterdir())) == 3
