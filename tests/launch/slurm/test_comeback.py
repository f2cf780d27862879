"""Which jobs come back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from biodist.run.folder import JobFolder, RunFolder
from biodist.run.records import AttemptRecord, Failure
from launch.slurm.comeback import claimed, failures_in_a_row, lives_without_attempt, newest_saved_step, over
from launch.slurm.job_state import JobState
from launch.slurm.life import Call, Life

Outcome = Literal["running", "finished", "stopped", "failed"]
AddAttempt = Callable[..., None]


def life(rank: int = 0, restart: int = 0) -> Life:
    return Life(
        job_id="17",
        restart=restart,
        rank=rank,
        local_rank=rank % 2,
        world_size=4,
        node=f"n{rank // 2 + 1}",
        nodes=("n1", "n2"),
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.prepare(tmp_path / "run")


@pytest.fixture
def add(run: RunFolder) -> AddAttempt:
    """Adds an attempt that resumed from a step, ended in some way and saved at some steps."""

    def build(outcome: Outcome, resumed: int | None, saved: tuple[int, ...] = ()) -> None:
        attempt = run.new_attempt()
        events: list[dict[str, Any]] = (
            [{"kind": "resumed", "step": resumed, "time": 1.0}] if resumed is not None else []
        )
        events += [{"kind": "saved", "step": step, "time": 2.0, "bytes": 1, "seconds": 1.0} for step in saved]
        attempt.events(0).write_text("".join(json.dumps(event) + "\n" for event in events))
        for step in saved:
            run.checkpoint(step).mkdir(parents=True, exist_ok=True)
        failure = Failure(rank=0, time=2.0, kind="error", message="broken")
        AttemptRecord(
            number=attempt.number,
            outcome=outcome,
            host="n1",
            pid=1,
            world_size=4,
            strategy="zero2",
            started=1.0,
            resumed_step=resumed,
            failure=failure if outcome == "failed" else None,
        ).save(attempt.record)

    return build


def test_failures_at_one_step_are_counted(run: RunFolder, add: AddAttempt) -> None:
    add("stopped", 0, saved=(10,))
    add("failed", 10)
    add("failed", 10)
    assert failures_in_a_row(run) == 2


def test_a_checkpoint_between_two_failures_is_progress(run: RunFolder, add: AddAttempt) -> None:
    add("failed", 0, saved=(10,))
    add("failed", 10, saved=(20,))
    assert newest_saved_step(run) == 20
    assert failures_in_a_row(run) == 0
    add("failed", 20)
    assert failures_in_a_row(run) == 1


def test_a_preemption_between_two_failures_ends_the_row(run: RunFolder, add: AddAttempt) -> None:
    add("failed", 0)
    add("stopped", 0)
    add("failed", 0)
    assert failures_in_a_row(run) == 1


def test_a_life_that_was_killed_is_no_failure(run: RunFolder, add: AddAttempt) -> None:
    add("failed", 0)
    add("running", 0)
    assert failures_in_a_row(run) == 0


def test_failures_before_a_checkpoint_is_found_are_counted(run: RunFolder, add: AddAttempt) -> None:
    """A node with a broken driver: nothing is resumed from, so nothing says which step it would have been."""
    add("stopped", 0, saved=(10,))
    add("failed", None)
    add("failed", None)
    assert failures_in_a_row(run) == 2


def test_lives_without_an_attempt_are_counted(run: RunFolder) -> None:
    job = run.new_job()
    for restart in range(3):
        assert claimed(job, life(restart=restart))
    assert lives_without_attempt(job) == 3
    call = job.call("17", 3)
    call.parent.mkdir()
    Call(exit_code=3, why="the disk was full").save(call)
    assert claimed(job, life(restart=3))
    assert lives_without_attempt(job) == 4
    Call(attempt=1).save(job.call("17", 4))
    assert claimed(job, life(restart=4))
    assert lives_without_attempt(job) == 0


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (JobState("17", "RUNNING", "squeue"), ""),
        (JobState("17", "RUNNING", "squeue", preempted=1.0), ""),
        (JobState("17", "COMPLETING", "squeue", time_left_s=50, restarts=0), "cancelled (Slurm says COMPLETING)"),
        (JobState("17", "COMPLETING", "squeue", time_left_s=0, restarts=0), ""),
        (JobState("17", "COMPLETING", "squeue", time_left_s=50, restarts=0, preempted=1.0), ""),
        (JobState("17", "COMPLETING", "squeue", time_left_s=50, restarts=1), "Slurm brings it back itself"),
        (JobState("17", "CANCELLED", "squeue"), "cancelled (Slurm says CANCELLED)"),
        (JobState("17", "NODE_FAIL", "sacct"), ""),
    ],
)
def test_what_slurm_says_of_a_job_decides(state: JobState, words: str) -> None:
    assert over(state, life()).startswith(words)
    assert bool(over(state, life())) == bool(words)


def test_one_task_alone_brings_a_life_back(run: RunFolder) -> None:
    job = run.new_job()
    assert claimed(job, life(rank=0))
    assert not claimed(JobFolder(job.root), life(rank=2))
    assert claimed(job, life(rank=2, restart=1))
