"""What can befall a run, done to real ones: kills, a stopped rank, damage, a full disk. It ends as if undisturbed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(280)
needs_root = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk: needs root")]
TIMEOUT_S = 10
Undisturbed = Callable[[str, int], Any]


@dataclass(frozen=True)
class Killed:
    """A run whose launcher was killed: the ranks' process ids, and those that outlived it."""

    workers: list[int]
    left: list[int]


def kill_launcher(started: Any, at_step: int, nproc: int, tools: Any) -> Killed:
    started.wait_for_step(at_step, 1)
    workers = tools.workers_of(started.attempt(), nproc)
    started.process.kill()
    started.process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while (left := [pid for pid in workers if tools.alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert tools.last_step(started.attempt() / "events-rank-0.jsonl") < tools.STEPS, "it was over before the kill"
    return Killed(workers, left)


def strike(started: Any, number: signal.Signals, rank: int, attempt: int, at_step: int, nproc: int, tools: Any) -> Any:
    """Sends a rank a signal in the middle of training; gives what the command said then."""
    started.wait_for_step(at_step, attempt)
    os.kill(tools.workers_of(started.attempt(), nproc)[rank], number)
    return started.said()


@dataclass(frozen=True)
class Battered:
    """A run that was hit several times and then left to finish."""

    run: Path
    killed: Killed
    hit: Any  # what the command said whose rank 1 was killed, or stopped
    hit_result: str | None  # result.json after that
    terminated: Any
    terminated_result: str | None
    finished: Any

    def attempt(self, number: int) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.run / "attempts" / f"{number:04d}" / "attempt.json").read_text())
        return record


def text_of(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


@pytest.fixture(scope="module")
def ddp(terminal: Any, tools: Any) -> Battered:
    """ddp on two processes: the launcher killed, rank 1 killed, SIGTERM, then nothing more."""
    key = "distributed.strategy=ddp"
    run = terminal.folder / "battered-ddp"
    killed = kill_launcher(terminal.start(run.name, 2, key), 15, 2, tools)
    hit = strike(terminal.start(run.name, 2, key), signal.SIGKILL, 1, 2, 35, 2, tools)
    hit_result = text_of(run / "result.json")
    started = terminal.start(run.name, 2, key)
    started.wait_for_step(52, 3)
    started.process.send_signal(signal.SIGTERM)
    terminated = started.said()
    stopped = text_of(run / "result.json")
    return Battered(run, killed, hit, hit_result, terminated, stopped, terminal.train(run.name, 2, key))


@pytest.fixture(scope="module")
def zero2(terminal: Any, tools: Any) -> Battered:
    """zero2 on two processes: the launcher killed, rank 1 stopped by SIGSTOP, then nothing more."""
    keys = ("distributed.strategy=zero2", f"distributed.timeout_s={TIMEOUT_S}")
    run = terminal.folder / "battered-zero2"
    killed = kill_launcher(terminal.start(run.name, 2, *keys), 15, 2, tools)
    hit = strike(terminal.start(run.name, 2, *keys), signal.SIGSTOP, 1, 2, 35, 2, tools)
    return Battered(run, killed, hit, text_of(run / "result.json"), None, None, terminal.train(run.name, 2, *keys))


@pytest.mark.parametrize("strategy", ["ddp", "zero2"])
def test_workers_die_with_their_launcher(strategy: str, request: pytest.FixtureRequest) -> None:
    battered: Battered = request.getfixturevalue(strategy)
    assert len(battered.killed.workers) == 2 and not battered.killed.left


def test_a_killed_rank_is_named(ddp: Battered) -> None:
    assert ddp.hit.code == 3, ddp.hit.text
    assert "rank 1 failed first" in ddp.hit.err and "SIGKILL" in ddp.hit.err
    assert str(ddp.run / "attempts" / "0002" / "rank-1.log") in ddp.hit.err
    assert "The same command goes on from the last checkpoint" in ddp.hit.err
    assert ddp.attempt(2)["outcome"] == "failed" and ddp.attempt(2)["failure"]["rank"] == 1
    result = json.loads(ddp.hit_result or "{}")
    assert result["status"] == "failed" and result["steps"] == ddp.attempt(2)["last_step"]
    assert result["weights_sha256"] is None and result["metrics"] == {}


def test_a_rank_that_stands_still_is_named_and_stacks_are_in_the_logs(zero2: Battered) -> None:
    assert zero2.hit.code == 3, zero2.hit.text
    assert "rank 1 failed first" in zero2.hit.err and "SIGSTOP" in zero2.hit.err
    log = (zero2.run / "attempts" / "0002" / "rank-0.log").read_text()
    assert "steps.py" in log and "File " in log
    assert zero2.attempt(2)["failure"]["kind"] == "paused"


def test_a_terminated_run_is_saved_and_says_stopped(ddp: Battered) -> None:
    assert ddp.terminated.code == 75, ddp.terminated.text
    assert (
        "SIGTERM: stopping after this step" in ddp.terminated.err and "The same command goes on" in ddp.terminated.err
    )
    result = json.loads(ddp.terminated_result or "{}")
    assert result["status"] == "stopped" and 52 <= result["steps"] == ddp.attempt(3)["last_step"]
    assert ddp.attempt(3)["outcome"] == "stopped"
    assert ddp.attempt(4)["resumed_step"] == result["steps"], "a stop loses no step"


def test_each_attempt_goes_on_from_the_last_checkpoint(ddp: Battered) -> None:
    assert ddp.attempt(1)["outcome"] == "running", "nobody was left to say more"
    assert ddp.attempt(2)["resumed_step"] >= 10 and ddp.attempt(2)["first_step"] == ddp.attempt(2)["resumed_step"] + 1
    assert ddp.attempt(3)["resumed_step"] >= 30
    assert "attempt 4" in ddp.finished.err and "3 earlier attempts" in ddp.finished.err


@pytest.mark.parametrize("strategy", ["ddp", "zero2"])
def test_it_ends_as_if_nothing_had_happened(
    strategy: str, undisturbed: Undisturbed, request: pytest.FixtureRequest, tools: Any
) -> None:
    battered: Battered = request.getfixturevalue(strategy)
    assert battered.finished.code == 0, battered.finished.text
    assert tools.proof(battered.run) == tools.proof(undisturbed(strategy, 2).run)


def test_tensorboard_has_each_step_once(ddp: Battered, tools: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(ddp.run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, tools.STEPS + 1))
    times = [event.wall_time for event in events.Scalars("train/loss")]
    assert times == sorted(times)
    assert [event.step for event in events.Scalars("validation/f1")] == [45, 90, tools.STEPS]


@dataclass(frozen=True)
class Damaged:
    """ddp on three processes, killed; one byte changed in its newest checkpoint, and in a copy in all of them."""

    run: Path
    killed: Killed
    spoilt: Path
    finished: Any
    hopeless: Any
    hopeless_before: dict[str, Any]
    hopeless_after: dict[str, Any]


def change_one_byte(checkpoint: Path) -> Path:
    shard = min(checkpoint.glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)
    return checkpoint


def without_attempts(files: dict[str, Any]) -> dict[str, Any]:
    """The run's own files: neither the attempts' nor the lease's, which say that there was an attempt."""
    kept = ("checkpoints", "samples", "metrics", "tensorboard", "model")
    return {name: state for name, state in files.items() if name.startswith(kept)}


@pytest.fixture(scope="module")
def damaged(terminal: Any, tools: Any) -> Damaged:
    run, hopeless = terminal.folder / "damaged", terminal.folder / "hopeless"
    killed = kill_launcher(terminal.start(run.name, 3), 35, 3, tools)
    shutil.copytree(run, hopeless)
    checkpoints = sorted((run / "checkpoints").glob("step-*"))
    assert len(checkpoints) > 1
    spoilt = change_one_byte(checkpoints[-1])
    for checkpoint in (hopeless / "checkpoints").glob("step-*"):
        change_one_byte(checkpoint)
    finished = terminal.train(run.name, 3)
    before = without_attempts(tools.tree(hopeless))
    return Damaged(
        run, killed, spoilt, finished, terminal.train("hopeless", 1), before, without_attempts(tools.tree(hopeless))
    )


def test_a_damaged_checkpoint_is_passed_over_and_said(damaged: Damaged, undisturbed: Undisturbed, tools: Any) -> None:
    assert not damaged.killed.left and len(damaged.killed.workers) == 3
    assert damaged.finished.code == 0, damaged.finished.text
    record = json.loads((damaged.run / "attempts" / "0002" / "attempt.json").read_text())
    assert record["resumed_step"] == int(damaged.spoilt.name.removeprefix("step-")) - 10
    (said,) = [line for line in damaged.finished.err.splitlines() if line.startswith("passed over: ")]
    assert damaged.spoilt.name in said and "XXH3" in said
    assert tools.proof(damaged.run) == tools.proof(undisturbed("ddp", 3).run)


def test_no_checkpoint_that_verifies_ends_the_run_and_changes_nothing(damaged: Damaged) -> None:
    assert damaged.hopeless.code == 3, damaged.hopeless.text
    assert "no checkpoint" in damaged.hopeless.err and "nothing was changed" in damaged.hopeless.err
    there = [Path(name).name for name in damaged.hopeless_before if Path(name).name.startswith("step-")]
    assert len(there) > 1 and all(name in damaged.hopeless.err for name in there), damaged.hopeless.err
    assert damaged.hopeless_before == damaged.hopeless_after


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own, that small."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True, timeout=30)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)
        folder.rmdir()


def fill(folder: Path, leave: int) -> Path:
    """A file that leaves so many bytes of the disk, or fewer where the run writes meanwhile."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while (room := shutil.disk_usage(folder).free - leave) > 0:
                file.write(bytes(room))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
    return filler


class TestSmallDisk:
    pytestmark = needs_root

    def test_too_small_before_the_start(self, terminal: Any) -> None:
        with disk(terminal.folder / "tiny-disk", "1m") as small:
            said = terminal.train("tiny-disk/run", 1)
            assert said.code == 4, said.text
            assert "GB free" in said.err and "keep_last" in said.err and str(small / "run") in said.err
            assert not list(small.iterdir())

    @pytest.mark.parametrize("leave", [150_000, 0], ids=["a save does not fit", "no reason fits"])
    def test_full_while_training(self, terminal: Any, undisturbed: Undisturbed, tools: Any, leave: int) -> None:
        with disk(terminal.folder / "disk", "16m") as small:
            started = terminal.start("disk/run", 2)
            run = small / "run"
            started.wait_for_step(12, 1)
            filler = fill(small, leave)
            said = started.said()
            assert said.code == 3, said.text
            assert "No space left on device" in said.err and "rank " in said.err, said.err
            kept = sorted(path.name for path in (run / "checkpoints").glob("step-*"))
            assert kept and not list((run / "checkpoints").glob("step-*/*.tmp"))
            filler.unlink()
            again = terminal.train("disk/run", 2)
            assert again.code == 0, again.text
            record = json.loads((run / "attempts" / "0002" / "attempt.json").read_text())
            assert record["resumed_step"] == int(kept[-1].removeprefix("step-")) > 0
            assert tools.proof(run) == tools.proof(undisturbed("ddp", 2).run)
