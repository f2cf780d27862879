"""The verdict on a rehearsal: ``rehearsal.json``."""

from __future__ import annotations

from typing import Literal

from biodist.plan.plan import REHEARSED_KILL
from biodist.run.durable import read_json_lines
from biodist.run.folder import AttemptFolder
from biodist.run.records import Record
from launch.rehearsal.pace import Projection, Seconds

CheckName = Literal["killed", "weights", "samples", "scores", "checkpoints"]


class Check(Record):
    """One thing that must hold."""

    name: CheckName
    good: bool
    found: str  # what was found, in a few words


class Verdict(Record):
    """A line for whoever decides whether the run may begin. Nothing here is removed or renamed."""

    version: Literal[1] = 1
    good: bool  # every check is
    run: str  # folder of the run that was rehearsed
    time: float  # UNIX seconds
    command: tuple[str, ...]  # what begins the run itself
    profile: str | None  # of the cluster; None: on this machine
    device: str  # its name
    nodes: int
    world_size: int
    strategy: str
    precision: str
    micro_batch: int
    steps: int  # that were rehearsed
    killed_after_step: int
    scored_samples: int  # of each scored split, at most
    checks: tuple[Check, ...]
    seconds: Seconds
    projection: Projection
    stop_s: float | None  # from a signal to the end: a step, then a save
    signal_lead_s: int | None = None  # of the profile: the warning before a job's time limit
    grace_s: int | None = None  # what its partition leaves a job that it preempts, where that is known
    notices: tuple[str, ...]  # what to set before the run begins


def was_killed(attempt: AttemptFolder, last_rank: int) -> bool:
    """Whether its last rank killed itself in this attempt, as the rehearsal wanted."""
    return any(event.get("name") == REHEARSED_KILL for event in read_json_lines(attempt.events(last_rank)))
