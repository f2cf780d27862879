"""A job that runs out of memory comes back with half the micro-batch, and that is no failure in its row."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from biodist.plan.plan import read_plan
from biodist.run.records import Result

from .submitted import Submitted, ground, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
__all__ = ["ground", "submitted"]
WIDE = ("model.scratch.hidden_size=256", "model.scratch.intermediate_size=1024")  # activations worth a limit


def starve(submitted: Submitted, rank: int) -> None:
    """Leaves a rank of the newest attempt the address space that it has."""
    events = submitted.run.attempts()[-1].events(rank)
    submitted.wait(events.exists, f"rank {rank} never started")
    pid: int = json.loads(events.read_text().splitlines()[0])["pid"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    size = int(next(line for line in lines if line.startswith("VmSize:")).split()[1]) * 1024
    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))


def test_it_comes_back_with_half_the_micro_batch(submitted: Submitted) -> None:
    # Freed memory goes back at once, so that every step asks the kernel for it anew.
    profile = submitted.profile(environment={"MALLOC_MMAP_THRESHOLD_": "65536"})
    held = submitted.trap("step", call=7)
    job = submitted.submit("train.micro_batch=8", *WIDE, on=profile)
    submitted.wait_held(held)
    starve(submitted, rank=3)
    held.let_go()
    submitted.wait_finished()
    assert submitted.outcomes() == ["failed", "finished"] and submitted.job == job
    first, second = submitted.attempts()
    assert first.failure is not None and (first.failure.rank, first.failure.kind) == (3, "memory")
    assert (first.micro_batch, second.micro_batch, second.micro_batch_rule) == (8, 4, "smaller")
    batches = [read_plan(attempt.plan).batch.global_batch for attempt in submitted.run.attempts()]
    assert batches[0] == batches[1]
    assert "4 windows instead of 8, because attempt 1 ran out of memory" in submitted.log()
    assert Result.load(submitted.run.result).micro_batches == (8, 4)
