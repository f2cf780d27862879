"""`biodist sweep` on this machine: real runs of a tiny recipe, the driver killed and stopped, the best promoted."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)
SWEEP = """\
name: tiny-sweep
recipe: tiny.yaml
space:
  train.learning_rate: {loguniform: [1e-4, 1e-2]}
  train.schedule: {choice: [linear, constant]}
search: {searcher: tpe, scheduler: asha, trials: 3, concurrency: 2}
"""
SHORT = ("train.max_steps=24", "evaluate.every=8", "distributed.strategy=ddp")
WITHOUT_OPTUNA = "import sys; sys.modules['optuna'] = None; from biodist.cli.app import main; main()"


def events(root: Path) -> list[dict[str, Any]]:
    ledger = root / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True) if ledger.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def of_kind(root: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in events(root) if event["kind"] == kind]


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def processes_of(root: Path) -> list[str]:
    """Command lines that name the folder, this test's own apart."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(root) in line and "pytest" not in line:
            found.append(line)
    return found


def sweep(desk: Any, root: str, *words: str) -> Any:
    """A sweep that is under way."""
    from types import SimpleNamespace

    arguments = ("sweep", "sweep.yaml", *SHORT, *words, "--run", root, "--device", "cpu")
    process = desk._popen(arguments, ("-m", "biodist.cli"))
    return SimpleNamespace(process=process, root=desk.folder / root)


def wait_until(started: Any, there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert started.process.poll() is None, started.process.communicate()
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def wait_for(tools: Any, started: Any, kind: str, count: int) -> None:
    wait_until(started, lambda: len(of_kind(started.root, kind)) >= count, f"{count} lines of {kind} never came")


def wait_for_attempts(started: Any, count: int) -> None:
    trials = started.root / "trials"
    wait_until(started, lambda: len(list(trials.glob("*/attempts/*"))) >= count, f"{count} trials never began")


@dataclass(frozen=True)
class Story:
    """One sweep over four drivers."""

    root: Path
    stopped: int
    said: str
    last: Any
    again: Any


@pytest.fixture(scope="module")
def story(terminal: Any, tools: Any) -> Story:
    (terminal.folder / "sweep.yaml").write_text(SWEEP)
    first = sweep(terminal, "swept")
    wait_for(tools, first, "started", 2)
    wait_for_attempts(first, 2)  # in the ledger and not yet let in, a trial ends with its driver
    first.process.kill()
    first.process.communicate(timeout=60)

    second = sweep(terminal, "swept")
    wait_for(tools, second, "driver", 2)
    wait_for(tools, second, "reported", 1)  # by whichever of the two
    second.process.kill()
    second.process.communicate(timeout=60)

    third = sweep(terminal, "swept")
    wait_for(tools, third, "driver", 3)
    wait_for(tools, third, "ended", 1)
    third.process.send_signal(signal.SIGTERM)
    said = "".join(third.process.communicate(timeout=120))

    last = terminal.run("sweep", "--resume", "swept")
    again = terminal.run("sweep", "sweep.yaml", *SHORT, "--run", "swept", "--device", "cpu")
    return Story(first.root, third.process.returncode, said, last, again)


def test_a_driver_that_is_killed_loses_nothing_and_repeats_nothing(story: Story) -> None:
    assert story.last.code == 0, story.last.text
    assert [len(of_kind(story.root, kind)) for kind in ("driver", "intent", "ended")] == [5, 3, 3]
    keys = [event["key"] for event in of_kind(story.root, "intent")]
    assert sorted(path.name for path in (story.root / "trials").iterdir()) == sorted(keys)
    told = [(event["key"], event["step"]) for event in of_kind(story.root, "reported")]
    assert len(told) == len(set(told))


def test_two_trials_outlived_their_driver(story: Story) -> None:
    """Each was started once before the stop: the second and third driver found it."""
    stop = next(place for place, event in enumerate(events(story.root)) if event["kind"] == "driver_ended")
    started = [event["key"] for event in events(story.root)[:stop] if event["kind"] == "started"]
    assert len(started) == len(set(started)) and len(of_kind(story.root, "driver_ended")) == 3


def test_no_process_is_left(story: Story) -> None:
    assert processes_of(story.root) == []


def test_a_stopped_sweep_says_how_to_go_on(story: Story) -> None:
    assert story.stopped == 75 and f"biodist sweep --resume {story.root}" in story.said
    assert re.search(r"ledger and tables were written in \d+\.\d\d s of \d+\.\d s\n", story.said)


def test_a_finished_sweep_is_done(story: Story) -> None:
    assert story.again.code == 0 and "3 of 3 trials" in story.again.out


def test_trials_are_runs_that_did_not_read_test(story: Story) -> None:
    for row in rows(story.root):
        run = story.root / "trials" / row["key"]
        if row["state"] == "finished":
            metrics = json.loads((run / "result.json").read_text())["metrics"]
            assert "test" not in metrics and metrics["validation"]["f1"] == pytest.approx(float(row["f1"]))


def test_no_text_of_the_corpus_is_in_the_sweeps_files(story: Story, tools: Any) -> None:
    own = [path for path in story.root.iterdir() if path.is_file()] + list((story.root / "logs").iterdir())
    assert own and not [path for path in own if tools.MARKER.encode() in path.read_bytes()]


def test_another_sweep_is_refused(story: Story, terminal: Any) -> None:
    said = terminal.run("sweep", "sweep.yaml", *SHORT, "search.seed=7", "--run", "swept")
    assert said.code == 2 and "sweep.search.seed: 42 and 7" in said.err
    said = terminal.run("sweep", "sweep.yaml", "train.max_steps=25", "--run", "swept")
    assert said.code == 2 and "core.train.max_steps: 24 and 25" in said.err


def test_the_best_is_promoted_with_fresh_seeds(story: Story, terminal: Any) -> None:
    said = terminal.run("sweep", "--promote", "1", "--seeds", "2", "swept")
    assert said.code == 0, said.text
    best = max((row for row in rows(story.root) if row["state"] == "finished"), key=lambda row: float(row["f1"]))
    promoted = story.root / "promoted" / best["key"]
    assert sorted(path.name for path in promoted.glob("seed-*")) == ["seed-43", "seed-44"]
    results = [json.loads((run / "result.json").read_text()) for run in promoted.glob("seed-*")]
    assert all("test" in result["metrics"] for result in results)
    mean = sum(result["metrics"]["test"]["f1"] for result in results) / 2
    assert f"{mean:.4f}" in said.out and best["key"] in said.out
    said = terminal.run("sweep", "--promote", "9", "swept")
    assert said.code == 2 and "have finished" in said.err


def test_half_the_trials_fail(desk: Any) -> None:
    """A label that the corpus has not is found out by the run itself."""
    text = SWEEP.replace("train.schedule: {choice: [linear, constant]}", "data.labels: {grid: [[Disease], [Gene]]}")
    text = text.replace("{loguniform: [1e-4, 1e-2]}", "{choice: [1e-3]}").replace("trials: 3, ", "retries: 0, ")
    (desk.folder / "sweep.yaml").write_text(text.replace("tpe", "grid"))
    said = desk.run("sweep", "sweep.yaml", "train.max_steps=4", "--run", "half", "--device", "cpu")
    assert said.code == 5, said.text
    assert "1 of 2 trials failed" in said.err and 'data.labels=["Gene"]' in said.err
    assert sorted(row["state"] for row in rows(desk.folder / "half")) == ["failed", "finished"]


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("sweep", "sweep.yaml", "space={train.epocs: {choice: [1]}}"), 2, "did you mean train.epochs?"),
        (("sweep", "sweep.yaml", "metric=bleu"), 2, "bleu is not a metric of task ner"),
        (("sweep", "sweep.yaml", "search.max_gpu_hours=3", "--device", "cpu"), 2, "use search.max_hours"),
        (("sweep", "sweep.yaml", "search.grace_steps=120"), 2, "none could ever be stopped early"),
        (("sweep", "nowhere.yaml"), 2, "no sweep of that name"),
        (("sweep",), 2, "names no sweep"),
        (("sweep", "sweep.yaml", "--run", "train.tsv"), 2, "is a file, must be a folder"),
        (("sweep", "--resume", "."), 2, "is no sweep's folder"),
        (("sweep", "--promote", "1", "."), 2, "is no sweep's folder"),
        (("sweep", "sweep.yaml", "--driver-on", "devcluster"), 2, "name a profile for the trials as well"),
        (("plan", "sweep.yaml", "search.trials=-1"), 2, "at least 1"),
        (("sweep", "."), 2, "goes on with --resume"),
        (("sweep", "sweep.yaml", "--seeds", "5"), 2, "search.seeds"),
        (("sweep", "--resume", ".", "--on", "devcluster", "--nproc", "2"), 2, "2 problems"),
        (("sweep", "--promote", "1", ".", "train.epochs=3"), 2, "train.epochs=3 is given"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input(desk: Any, arguments: tuple[str, ...], code: int, what: str) -> None:
    (desk.folder / "sweep.yaml").write_text(SWEEP)
    said = desk.run(*arguments)
    assert said.code == code and what in said.err and "Traceback" not in said.text, said.text
    assert not list(desk.folder.glob("runs")), "something was written"


def test_trials_under_way_keep_their_place(tmp_path: Path) -> None:
    """Whoever forgets `--on` does not begin on this machine what waits in a queue."""
    from biodist.cli.sweep import place_of, refuse_other_place
    from biodist.errors import UserError
    from biodist.run.sweep_folder import SweepFolder
    from biodist.sweeps.ledger import Ended, Ledger, Started

    folder, key = SweepFolder.prepare(tmp_path / "swept"), "0123abcd-0001"
    there, here = place_of("a100x8", None, None, "auto"), place_of(None, None, 2, "auto")
    there.save(folder.place)
    ledger = Ledger(folder.ledger)
    refuse_other_place(folder, here)
    ledger.append(Started(key=key, job="1"))
    refuse_other_place(folder, there.model_copy(update={"nodes": 2}))
    with pytest.raises(UserError, match="1 trials were begun with --on a100x8, and are not over") as caught:
        refuse_other_place(folder, here)
    assert "biodist sweep --resume" in str(caught.value)
    ledger.append(Ended(key=key, state="finished", steps=1, value=0.5, seconds=1))
    ledger.close()
    refuse_other_place(folder, here)


def test_without_optuna(desk: Any) -> None:
    (desk.folder / "sweep.yaml").write_text(SWEEP)
    said = desk.run("sweep", "sweep.yaml", program=("-c", WITHOUT_OPTUNA))
    assert said.code == 4 and "pip install 'biodist[sweeps]'" in said.err, said.text
    assert not (desk.folder / "runs").exists()


def test_a_plan_of_a_sweep(desk: Any) -> None:
    (desk.folder / "sweep.yaml").write_text(SWEEP)
    said = desk.run("plan", "sweep.yaml", *SHORT, "--json")
    plan = json.loads(said.out)
    assert plan["runs"] == 3 and plan["steps_at_most"] == 72 and plan["first_stop"] == 8
    # All to step 8, a third to the end.
    assert plan["steps_expected"] == 40
    said = desk.run("plan", "sweep.yaml", *SHORT, "--on", "a100x8")
    assert said.code == 0 and "GPU hours" in said.out and "#SBATCH" in said.out and "biodist sweep" in said.out


def test_what_a_plan_imports(desk: Any) -> None:
    (desk.folder / "sweep.yaml").write_text(SWEEP)
    program = (
        "import sys; from biodist.cli.app import app; app(sys.argv[1:], standalone_mode=False); "
        "print([name for name in ('torch', 'ray', 'optuna', 'transformers') if name in sys.modules])"
    )
    said = desk.run("plan", "sweep.yaml", "--device", "cpu", program=("-c", program))
    assert said.out.endswith("[]\n"), said.text


def test_trials_keep_to_their_cores() -> None:
    from biodist.plan.machine import Gpu, Machine
    from biodist.sweeps.local import slots_of

    cores = len(os.sched_getaffinity(0))
    machine = Machine(host="here", processor="one", cores=cores, memory=10**9)
    slots = slots_of(machine, 1, "cpu", 64)
    held = [core for slot in slots for core in slot.cores]
    assert len(slots) == cores and len(held) == len(set(held)) == cores
    gpus = tuple(Gpu(index=n, uuid=f"GPU-{n}", name="g", memory=1, compute_capability=9.0) for n in range(5))
    many = slots_of(machine.model_copy(update={"gpus": gpus * (cores + 1)}), 1, "cuda", 99)
    assert len(many) > cores and all(slot.cores for slot in many)
    slots = slots_of(machine.model_copy(update={"gpus": gpus}), 2, "cuda", 8)
    assert [slot.gpus for slot in slots] == [("GPU-0", "GPU-1"), ("GPU-2", "GPU-3")]
