"""Keeps `attempt.json`: the launcher outlives the workers, so it says how the attempt ended."""

from __future__ import annotations

import os
import shutil
import socket
import time
from typing import Literal

from biodist.plan.plan import Plan, read_plan
from biodist.run.durable import read_json_lines
from biodist.run.folder import AttemptFolder
from biodist.run.records import AttemptRecord, Failure


def begin_record(
    attempt: AttemptFolder, plan: Plan, job: str | None = None, restart: int = 0, nodes: tuple[str, ...] = ()
) -> AttemptRecord:
    """Writes that the attempt runs; `job`, `restart` and `nodes` on a cluster. Raises OSError."""
    record = AttemptRecord(
        number=attempt.number,
        outcome="running",
        host=socket.gethostname(),
        pid=os.getpid(),
        world_size=plan.machine.world_size,
        strategy=plan.strategy,
        micro_batch=plan.batch.micro_batch,
        micro_batch_rule=plan.batch.micro_batch_rule,
        started=time.time(),
        job=job,
        restart=restart,
        nodes=nodes,
    )
    record.save(attempt.record)
    return record


def end_record(
    attempt: AttemptFolder,
    outcome: Literal["finished", "stopped", "failed"],
    failure: Failure | None,
    stopped_by: str | None = None,
) -> AttemptRecord:
    """Writes how it ended and which steps it made, from the events of rank 0. Raises OSError, UserError."""
    resumed: int | None = None
    steps: list[int] = []
    for event in read_json_lines(attempt.events(0)):
        if event.get("kind") == "resumed":
            resumed = event["step"]
        elif event.get("kind") == "step":
            steps.append(event["step"])
    record = AttemptRecord.load(attempt.record).model_copy(
        update={
            **_micro_batch(attempt),
            "outcome": outcome,
            "ended": time.time(),
            "resumed_step": resumed,
            "first_step": steps[0] if steps else None,
            "last_step": steps[-1] if steps else None,
            "failure": failure,
            "stopped_by": stopped_by,
        }
    )
    record.save(attempt.record)
    return record


def _micro_batch(attempt: AttemptFolder) -> dict[str, object]:
    """As the plan has it now: a probe may have corrected it."""
    if not attempt.plan.exists():
        return {}
    batch = read_plan(attempt.plan).batch
    return {"micro_batch": batch.micro_batch, "micro_batch_rule": batch.micro_batch_rule}


def remove_unfinished(attempt: AttemptFolder) -> None:
    """What an attempt that was replaced had begun to write outside its own folder."""
    for folder in attempt.unfinished():
        shutil.rmtree(folder, ignore_errors=True)
