"""Keeps `attempt.json`: the launcher outlives the workers, so it says how the attempt ended."""

from __future__ import annotations

import os
import shutil
import socket
import time
from typing import Literal

from biodist.plan.plan import Plan
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
    """Writes how it ended and which steps it made, from the events of rank 0. Raises OSError."""
    resumed: int | None = None
    steps: list[int] = []
    for event in read_json_lines(attempt.events(0)):
        if event.get("kind") == "resumed":
            resumed = event["step"]
        elif event.get("kind") == "step":
            steps.append(event["step"])
    record = AttemptRecord.load(attempt.record).model_copy(
        update={
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


def remove_unfinished(attempt: AttemptFolder) -> None:
    """What an attempt that was replaced had begun to write outside its own folder."""
    for folder in attempt.unfinished():
        shutil.rmtree(folder, ignore_errors=True)
