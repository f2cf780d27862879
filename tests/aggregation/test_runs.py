"""Runs below folders: found, named, and read as the run's own stream has them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biodist.aggregation.event_lines import read_event_lines
from biodist.aggregation.runs import Cursor, RunPlace, RunView, find_runs, is_unchanged, read_run
from biodist.errors import RunFailed, UserError
from biodist.metrics.stream import RunStream
from biodist.run.folder import RunFolder


def view_of(folder: Path) -> RunView:
    (place,) = find_runs([folder])
    return read_run(place)


def stream_points(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """What metrics.jsonl holds once the stream was made of all attempts."""
    last = run.new_attempt()
    RunStream.open(run, last, 1 << 40).close()
    found: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, run.metrics.read_text().splitlines()):
        step, split = line.pop("step"), line.pop("split")
        for name, value in line.items():
            found.setdefault(f"{split}/{name}", []).append((step, float(value)))
    last.root.rmdir()
    return found


ATTEMPTS = [
    [(0, 60)],
    [(0, 45), (40, 60)],
    [(0, 25), (20, 52), (30, 41), (41, 90)],
    [(0, 33), (0, 20), (10, 14)],  # back to the start; ended before it came as far again
]


@pytest.mark.parametrize("attempts", ATTEMPTS, ids=str)
@pytest.mark.parametrize("odd", [False, True], ids=["arrow", "line by line"])
def test_ours_are_read_as_the_stream_has_them(tmp_path: Path, events: Any, attempts: Any, odd: bool) -> None:
    run = events.own_run(tmp_path / "run", attempts)
    if odd:  # what Arrow does not read
        log = run.attempts()[0].events(0)
        log.write_text(log.read_text().replace('"grad_norm": 1.5', '"grad_norm": "inf"', 1))
    view = view_of(tmp_path / "run")
    found = {
        tag: list(zip(one.steps.tolist(), one.values.tolist(), strict=True))
        for tag, one in view.series.items()
        if not tag.startswith("ranks/")
    }
    assert found == stream_points(run)
    assert len(found["train/loss"]) == attempts[-1][1]


def test_both_readers_of_events_agree(tmp_path: Path, events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = events.own_run(tmp_path / "run", [(0, 40)])
    path = run.attempts()[0].events(0)
    fast = read_event_lines(path)

    def refuse(whole: bytes) -> None:
        raise ValueError

    monkeypatch.setattr("biodist.aggregation.event_lines._with_arrow", refuse)
    slow = read_event_lines(path)
    for one, other in ((fast.steps, slow.steps), (fast.paces, slow.paces)):
        assert np.array_equal(one.steps, other.steps) and np.array_equal(one.times, other.times)
        assert np.array_equal(one.lines, other.lines) and len(one.steps) == 40
        for name in one.values:
            assert np.array_equal(one.values[name], other.values[name]), name
    assert fast.scores == slow.scores and fast.offset == slow.offset


def test_what_is_known_of_a_run(tmp_path: Path, events: Any) -> None:
    settings = {"train": {"learning_rate": 1e-5, "betas": [0.9, 0.99]}, "data": {"train": [{"path": "a.tsv"}]}}
    events.own_run(tmp_path / "run", [(0, 25), (20, 30)], settings, ranks=3)
    view = view_of(tmp_path / "run")
    assert view.status == "finished" and view.result is not None and view.result.steps == 30
    assert view.settings == {
        "name": "made-up",
        "train.learning_rate": 1e-5,
        "train.betas": "0.9, 0.99",
        "data.train.0.path": "a.tsv",
    }
    assert [attempt.number for attempt in view.attempts] == [1, 2]
    assert [(marker.step, marker.kind) for marker in view.markers] == [(20, "restart")]
    assert view.dropped == 5
    assert view.ranks == (0, 1, 2)


def test_ranks_are_reduced_where_all_have_told(tmp_path: Path, events: Any) -> None:
    run = events.own_run(tmp_path / "run", [(0, 25), (20, 30)], ranks=3)
    behind = run.attempts()[1].events(2)
    lines = behind.read_text().splitlines(keepends=True)
    behind.write_text("".join(lines[:-1]))  # rank 2 has not told of the last step yet
    view = view_of(tmp_path / "run")
    for how, of in (("min", min), ("median", lambda values: sorted(values)[1]), ("max", max)):
        one = view.series[f"ranks/step_seconds/{how}"]
        assert one.steps.tolist() == list(range(1, 30))
        paces = [
            [json.loads(line) for line in run.attempts()[1].events(rank).read_text().splitlines()] for rank in range(3)
        ]
        for step in (21, 29):
            seconds = [next(p["seconds"] for p in pace if p["kind"] == "pace" and p["step"] == step) for pace in paces]
            assert one.values[step - 1] == of(seconds)


def test_a_damaged_line_is_named_and_left_out(tmp_path: Path, events: Any) -> None:
    run = events.own_run(tmp_path / "run", [(0, 30)])
    log = run.attempts()[0].events(0)
    lines = log.read_text().splitlines(keepends=True)
    lines[20] = lines[20][:15] + "\n"
    log.write_text("".join(lines) + '{"kind": "step", "torn')
    view = view_of(tmp_path / "run")
    assert view.damaged == 1
    assert [problem.where for problem in view.problems] == [f"{log}:21"]
    assert len(view.series["train/loss"]) in (29, 30)


def test_a_run_of_which_nothing_can_be_read(tmp_path: Path, events: Any) -> None:
    run = events.own_run(tmp_path / "run", [(0, 30)])
    log = run.attempts()[0].events(0)
    log.write_text("nonsense\n" + log.read_text())
    with pytest.raises(RunFailed, match=r"events-rank-0.jsonl:1"):
        view_of(tmp_path / "run")


def test_states_by_the_files_alone(tmp_path: Path, events: Any) -> None:
    new = RunFolder(tmp_path / "new")
    new.root.mkdir()
    new.lease_lock.touch()
    assert view_of(tmp_path / "new").status == "new"
    run = events.own_run(tmp_path / "run", [(0, 20)], status=None)
    assert view_of(tmp_path / "run").status == "killed"
    run.lease.touch()
    assert view_of(tmp_path / "run").status == "running"
    os.utime(run.lease, (time.time() - 3600,) * 2)
    assert view_of(tmp_path / "run").status == "killed"


def test_runs_are_found_and_named(tmp_path: Path, events: Any) -> None:
    events.own_run(tmp_path / "sweep/trials/b", [(0, 10)])
    events.own_run(tmp_path / "seeds/seed-42", [(0, 10)])
    (tmp_path / "sweep/trials/b/tensorboard").mkdir()
    events.write(tmp_path / "sweep/trials/b/tensorboard/events.out.tfevents.1", [events.version()])
    events.write(tmp_path / "sweep/lightning/version_0/events.out.tfevents.1", [events.version()])
    (tmp_path / "sweep/board").mkdir()
    (tmp_path / "sweep/board/biodist-tree.json").touch()
    events.write(tmp_path / "sweep/board/runs/b/events.out.tfevents.1", [events.version()])
    found = find_runs([tmp_path / "sweep"])
    assert [(one.name, one.kind) for one in found] == [("lightning/version_0", "foreign"), ("trials/b", "biodist")]
    several = find_runs([tmp_path / "sweep", tmp_path / "seeds", tmp_path / "sweep/trials"])
    assert [one.name for one in several] == ["sweep/lightning/version_0", "sweep/trials/b", "seeds/seed-42"]
    assert [one.name for one in find_runs([tmp_path / "seeds/seed-42"])] == ["seed-42"]


def test_all_that_is_wrong_with_the_paths(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        find_runs([tmp_path / "empty", tmp_path / "none", tmp_path / "file"])
    assert [Path(problem.where).name for problem in caught.value.problems] == ["empty", "none", "file"]


def test_hyper_parameters_of_foreign_runs(tmp_path: Path, events: Any) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams import summary_v2

    told = summary_v2.hparams_pb({"lr": 3e-5, "layers": 6, "optimizer": "adamw", "amp": True}, trial_id="x")
    made = [events.version(), Event(wall_time=1.0, summary=told), events.scalar("loss", 1, 1.0)]
    events.write(tmp_path / "run/events.out.tfevents.1", made)
    assert view_of(tmp_path / "run").settings == {"lr": 3e-5, "layers": 6, "optimizer": "adamw", "amp": True}


class TestCursors:
    """A foreign run that is read on, against the same read anew."""

    def place(self, folder: Path) -> RunPlace:
        return RunPlace("run", folder.absolute(), "foreign")

    def test_only_what_is_new_is_read(self, tmp_path: Path, events: Any) -> None:
        file = tmp_path / "events.out.tfevents.1"
        events.write(
            file, [events.version(), *(events.tensor("a", s, s, "scalars" if s == 1 else None) for s in range(1, 50))]
        )
        first = read_run(self.place(tmp_path))
        assert is_unchanged(self.place(tmp_path), first.cursor)
        events.add(file, [events.tensor("a", step, step, None) for step in range(50, 60)])
        data = file.read_bytes()
        file.write_bytes(data[:-7])
        assert not is_unchanged(self.place(tmp_path), first.cursor)
        second = read_run(self.place(tmp_path), first.cursor)
        assert second.goes_on and second.series["a"].steps.tolist() == list(range(50, 59))
        with file.open("ab") as tail:
            tail.write(data[-7:])
        third = read_run(self.place(tmp_path), Cursor.model_validate_json(second.cursor.model_dump_json()))
        assert third.goes_on and third.series["a"].steps.tolist() == [59]

    @pytest.mark.parametrize("what", ["restart", "again", "older file", "replaced"])
    def test_what_does_not_follow_on_is_read_anew(self, tmp_path: Path, events: Any, what: str) -> None:
        file = tmp_path / "events.out.tfevents.2"
        events.write(file, [events.version(), *(events.scalar("a", step, step) for step in range(1, 50))])
        cursor = read_run(self.place(tmp_path)).cursor
        match what:
            case "restart":
                events.add(file, [events.start(30), events.scalar("a", 60, 1.0)])
            case "again":
                events.add(file, [events.scalar("a", 30, 1.0), events.scalar("a", 60, 1.0)])
            case "older file":
                events.write(tmp_path / "events.out.tfevents.1", [events.scalar("b", 1, 1.0)])
            case "replaced":
                new = events.write(tmp_path / "new", [events.scalar("a", step, 1.0) for step in range(1, 90)])
                new.replace(file)
        view = read_run(self.place(tmp_path), cursor)
        whole = read_run(self.place(tmp_path))
        assert not view.goes_on
        assert {tag: one.steps.tolist() for tag, one in view.series.items()} == {
            tag: one.steps.tolist() for tag, one in whole.series.items()
        }

    def test_an_unreadable_file_is_named(self, tmp_path: Path, events: Any) -> None:
        events.write(tmp_path / "events.out.tfevents.1", [events.scalar("a", 1, 1.0)])
        (tmp_path / "events.out.tfevents.2").symlink_to(tmp_path / "nowhere")
        view = read_run(self.place(tmp_path))
        assert view.series["a"].steps.tolist() == [1]
