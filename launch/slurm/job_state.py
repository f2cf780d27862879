"""What Slurm says of a job, and how its words are read: squeue's and sacct's, from Slurm 22.05 on.

Text columns, not ``--json``: what that writes differs from version to version.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

SQUEUE_FIELDS = (
    *("JobArrayID:80|", "State:32|", "RestartCnt:16|", "exit_code:16|", "TimeLeft:32|", "TimeLimit:32|"),
    *("StartTime:32|", "PreemptTime:32|", "Partition:128|", "NodeList:1024|", "Reason:256"),
)
"""Columns for ``squeue --Format``; the reason stands last: it alone may hold any sign."""

SACCT_FIELDS = ("JobID", "State", "ExitCode", "TimelimitRaw", "NodeList", "Partition", "Reason")
"""Columns for ``sacct --parsable2 --format``."""

_GOES_ON = frozenset(
    {"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"}
    | {"RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "POWER_UP_NODE"}
)
_WAITS = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
_HOLDS_NODES = frozenset({"RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "SIGNALING", "STOPPED", "RESIZING"})


@dataclass(frozen=True)
class JobState:
    """One job as Slurm sees it. Times are UNIX seconds."""

    job_id: str  # 4711, or 4711_2 in an array
    state: str  # Slurm's word: PENDING, RUNNING, COMPLETING, CANCELLED, …
    source: Literal["squeue", "sacct"]
    reason: str = ""  # why it waits, or why it failed; empty where Slurm gives none
    nodes: str = ""  # as Slurm writes them: n[1-4]
    partition: str = ""
    time_left_s: int | None = None  # until its limit; 0: the limit is reached; None: no limit, or it holds no nodes
    time_limit_min: int | None = None  # None: no limit, or not known
    restarts: int | None = None  # how often Slurm has started it again; sacct does not say
    exit_code: int | None = None  # of the batch script; a signal's number negated. None while it has not ended
    starts: float | None = None  # of a waiting one: when Slurm expects it to start
    preempted: float | None = None  # when Slurm began to take its nodes for another job

    @property
    def ended(self) -> bool:
        """Whether it is over in Slurm's eyes, until somebody requeues it."""
        return self.state not in _GOES_ON

    @property
    def waits(self) -> bool:
        return self.state in _WAITS

    @property
    def holds_nodes(self) -> bool:
        return self.state in _HOLDS_NODES

    @property
    def is_ending(self) -> bool:
        """Its processes are being ended, by their own doing or by Slurm's. Which, Slurm says in other columns:

        ``reason`` TimeLimit: its limit was reached; ``restarts`` above those of the life that asks: Slurm starts it
        again by itself (preempted and out of grace, a lost node); neither: `scancel`, or it ended by itself.
        **A requeue in this state brings back a job that was cancelled.**
        """
        return self.state == "COMPLETING"


def read_squeue(text: str) -> list[JobState]:
    """The jobs in the output of ``squeue --noheader --array --Format=…`` with `SQUEUE_FIELDS`."""
    return [_from_squeue(line) for line in text.splitlines() if line.count("|") >= len(SQUEUE_FIELDS) - 1]


def _from_squeue(line: str) -> JobState:
    values = (value.strip() for value in line.split("|", len(SQUEUE_FIELDS) - 1))
    job_id, state, restarts, status, left, limit, starts, preempted, partition, nodes, reason = values
    waits, holds = state in _WAITS, state in _HOLDS_NODES
    return JobState(
        job_id=job_id,
        state=state,
        source="squeue",
        reason=_word(reason),
        nodes=_word(nodes),
        partition=_word(partition),
        time_left_s=_time_left_s(left, limit) if holds else None,
        time_limit_min=_minutes(limit),
        restarts=int(restarts) if restarts.isdigit() else None,
        exit_code=None if state in _GOES_ON else _exit_code(status),
        starts=_time(starts) if waits else None,
        preempted=_time(preempted) if holds else None,
    )


def read_sacct(text: str) -> list[JobState]:
    """The jobs in the output of ``sacct --allocations --noheader --parsable2`` with `SACCT_FIELDS`."""
    return [_from_sacct(line) for line in text.splitlines() if line.count("|") >= len(SACCT_FIELDS) - 1]


def _from_sacct(line: str) -> JobState:
    job_id, said, status, limit, nodes, partition, reason = line.split("|", len(SACCT_FIELDS) - 1)
    state = said.split()[0] if said.split() else "UNKNOWN"  # "CANCELLED by 1000"
    return JobState(
        job_id=job_id,
        state=state,
        source="sacct",
        reason=_word(reason),
        nodes="" if nodes == "None assigned" else _word(nodes),
        partition=_word(partition),
        time_limit_min=int(limit) if limit.isdigit() else None,
        exit_code=None if state in _GOES_ON else _exit_code(status),
    )


def seconds(duration: str) -> int | None:
    """``1-02:03:04``, ``2:03:04`` or ``3:04`` in seconds; None for words (UNLIMITED, INVALID, N/A)."""
    days, dash, clock = duration.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts) or len(parts) not in (2, 3) or (dash and not days.isdigit()):
        return None
    total = 0
    for part in parts:
        total = total * 60 + int(part)
    return total + 86400 * int(days or 0)


def _minutes(limit: str) -> int | None:
    whole = seconds(limit)
    return None if whole is None else whole // 60


def _time_left_s(left: str, limit: str) -> int | None:
    found = seconds(left)
    # squeue writes INVALID for less than nothing: jobs run on for up to half a minute after their limit.
    return 0 if found is None and left == "INVALID" and seconds(limit) is not None else found


def _exit_code(status: str) -> int | None:
    """From sacct's ``code:signal``, or from squeue's status as wait(2) packs it."""
    code, colon, number = status.partition(":")
    if not code.isdigit() or (colon and not number.isdigit()):
        return None
    if not colon:
        packed = int(code)
        return -(packed & 0x7F) if packed & 0x7F else packed >> 8
    return -int(number) if int(number) else int(code)


def _time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _word(text: str) -> str:
    return "" if text in ("None", "N/A", "(null)", "n/a") else text
