"""How a run stands: its files, and what Slurm says of its job. Without Slurm, or once it has forgotten the job, the
files answer alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from biodist.errors import BiodistError
from biodist.plan.plan import Plan, read_plan
from biodist.run.folder import JobFolder, RunFolder
from biodist.run.jobs import Submission, resume_command
from biodist.run.lease import STALE_S, LeaseRecord, holder_of
from biodist.run.process import process_space, process_stat
from biodist.run.records import AttemptRecord, Record, is_finished
from launch.achieved import Achieved, achieved
from launch.slurm.job_state import JobState

Ended = Literal["stopped", "failed", "killed", "cancelled", "lost", "finished"]
State = Literal["new", "waiting", "running", "paused", "ending", "unknown"] | Ended
"""``killed``: nobody is left to say how it ended · ``ending``: Slurm ends its job · ``lost``: Slurm has forgotten a
job that left nothing behind · ``unknown``: Slurm does not answer, and nobody writes · ``new``: nothing was begun."""

_UNDER_WAY = frozenset({"waiting", "running", "paused", "ending", "unknown"})


class RunStanding(Record):
    """One run: a line of ``biodist status --json``. Times are UNIX seconds; nothing here is removed or renamed."""

    run: str  # folder
    state: State
    reason: str = ""  # Slurm's, or why the newest attempt failed
    host: str | None = None  # of the launcher, or of rank 0
    pid: int | None = None  # of the launcher, where no cluster runs it
    job: str | None = None  # of the cluster: the one that runs or waits, or the newest
    job_state: str | None = None  # Slurm's word; None once Slurm has forgotten the job
    nodes: str = ""
    starts: float | None = None  # when Slurm expects a waiting job to start
    job_seconds_left: int | None = None  # of the job's time limit
    step: int = 0
    total_steps: int | None = None
    phase: str = ""
    seconds_left: float | None = None  # of training steps, at the pace of the last ones
    loss: float | None = None  # of the last step
    attempts: int = 0
    preemptions: int = 0  # attempts of a job that were stopped or killed from outside
    failures: int = 0
    shortages: int = 0  # of the failures: attempts that ran out of memory
    micro_batch: int | None = None  # windows, of the newest attempt
    checkpoint_step: int | None = None
    next_checkpoint_step: int | None = None
    best_metric: str | None = None
    best_score: float | None = None
    best_step: int | None = None
    resume: str = ""  # what a person types where its job has ended and nobody brings it back

    @property
    def under_way(self) -> bool:
        """Whether it goes on, or may, without anybody doing anything."""
        return self.state in _UNDER_WAY


@dataclass(frozen=True)
class History:
    """What a run's folder holds of attempts, submissions and its end."""

    run: RunFolder
    records: tuple[AttemptRecord, ...]
    attempts: int
    folder: JobFolder | None  # of the newest submission
    submission: Submission | None
    finished: bool

    @classmethod
    def read(cls, run: RunFolder) -> History:
        """Raises RunFailed when a record is damaged, OSError when one cannot be read."""
        attempts = run.attempts()
        folder = next((job for job in reversed(run.jobs()) if job.submission.exists()), None)
        return cls(
            run=run,
            records=tuple(AttemptRecord.load(attempt.record) for attempt in attempts if attempt.record.exists()),
            attempts=len(attempts),
            folder=folder,
            submission=Submission.load(folder.submission) if folder else None,
            finished=is_finished(run),
        )

    @property
    def last(self) -> AttemptRecord | None:
        return self.records[-1] if self.records else None

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Of the newest submission, oldest first."""
        return tuple(job.job_id for job in self.submission.jobs) if self.submission else ()

    @property
    def went_on_without_its_job(self) -> bool:
        """Whether the newest attempt was made here, after the newest submission: then its job tells nothing."""
        if self.submission is None or not self.submission.jobs or self.last is None:
            return False
        return self.last.job is None and self.last.started > self.submission.jobs[-1].submitted

    @property
    def left_to_its_user(self) -> bool:
        """Whether its newest job was to come back and nobody could see to it."""
        return self.folder is not None and bool(self.folder.handovers()) and not self.went_on_without_its_job

    @property
    def cancelled(self) -> bool:
        return self.folder is not None and self.folder.cancelled.exists() and not self.went_on_without_its_job


def open_jobs(histories: Iterable[History]) -> list[str]:
    """The jobs of unfinished runs, to ask Slurm for at once."""
    return [job_id for history in histories if not history.finished for job_id in history.job_ids]


def standing_of(history: History, slurm: Mapping[str, JobState] | None) -> RunStanding:
    """How the run stands. `slurm`: what Slurm said of the jobs it knows; None when it did not answer.

    Raises as `History.read`.
    """
    holder = living_holder(history.run)
    job = None if history.went_on_without_its_job else _current_job(history.job_ids, slurm or {})
    known = slurm.get(job) if slurm and job else None
    last, plan = history.last, _plan(history)
    state = _state(history, holder, known)
    if slurm is None and job is not None and state in ("stopped", "failed", "killed", "lost"):
        state = "unknown"  # its job may wait to start again
    far = achieved(history.run, plan) if plan else None
    return RunStanding(
        run=str(history.run.root),
        state=state,
        reason=_reason(state, history, known),
        host=holder.host if holder else (last.host if last else None),
        pid=None if job or (holder and holder.job) else (holder.pid if holder else (last.pid if last else None)),
        job=job or (holder.job if holder else None),
        job_state=known.state if known else None,
        nodes=(known.nodes if known else "") or (",".join(last.nodes) if last and state != "waiting" else ""),
        starts=known.starts if known else None,
        job_seconds_left=known.time_left_s if known and not known.is_ending else None,
        attempts=history.attempts,
        preemptions=_preemptions(history, holder),
        failures=sum(record.outcome == "failed" for record in history.records),
        shortages=sum(record.failure is not None and record.failure.kind == "memory" for record in history.records),
        micro_batch=last.micro_batch if last else None,
        resume=_resume(state, history),
        **_figures(far, _phase(far, last, known)),
    )


def is_under_way(history: History, slurm: Mapping[str, JobState] | None) -> bool:
    """Whether the run goes on, or may, without anybody doing anything: `standing_of` without its figures.

    Raises MachineCannot where the lease is damaged.
    """
    job = None if history.went_on_without_its_job else _current_job(history.job_ids, slurm or {})
    state = _state(history, living_holder(history.run), slurm.get(job) if slurm and job else None)
    waits_unseen = slurm is None and job is not None and state != "finished"
    return waits_unseen or state in _UNDER_WAY


def living_holder(run: RunFolder) -> LeaseRecord | None:
    """Who writes to the run now, as far as can be told from here. Raises MachineCannot where the lease is damaged."""
    holder = holder_of(run)
    if holder is None:
        return None
    if holder.process_space == process_space():
        stat = process_stat(holder.pid)
        return holder if stat and stat.alive and stat.start_ticks == holder.process_start_ticks else None
    try:
        silent_s = time.time() - run.lease.stat().st_mtime
    except FileNotFoundError:
        return None
    return holder if silent_s <= STALE_S else None


def _state(history: History, holder: LeaseRecord | None, known: JobState | None) -> State:
    if history.finished:
        return "finished"
    if holder is not None and holder.job is None:
        return "paused" if _stands_still(holder) else "running"
    if known is not None and not known.ended:
        return "waiting" if known.waits else "ending" if known.is_ending else "running"
    if holder is not None:
        return "running"
    if history.cancelled or (known is not None and known.state == "CANCELLED"):
        return "cancelled"
    if history.last is not None:
        return "killed" if history.last.outcome == "running" else history.last.outcome
    if history.job_ids:
        return "failed" if known is not None else "lost"
    return "new"


def _stands_still(holder: LeaseRecord) -> bool:
    stat = process_stat(holder.pid) if holder.process_space == process_space() else None
    return stat is not None and stat.stopped


def _current_job(job_ids: tuple[str, ...], slurm: Mapping[str, JobState]) -> str | None:
    """The job that has nodes, else the one that waits, else the newest."""
    known = [slurm[job_id] for job_id in job_ids if job_id in slurm]
    for wanted in ([job for job in known if job.holds_nodes], [job for job in known if not job.ended]):
        if wanted:
            return wanted[-1].job_id
    return job_ids[-1] if job_ids else None


def _resume(state: State, history: History) -> str:
    ended = state in ("stopped", "failed", "killed", "lost")
    if not ended or history.folder is None or history.went_on_without_its_job:
        return ""
    return resume_command(history.folder)


def _reason(state: State, history: History, known: JobState | None) -> str:
    last = history.last
    if state in ("stopped", "killed") and history.left_to_its_user:
        return "there was no Slurm where its job ran: it must be submitted again"
    if state == "failed" and last is not None and last.failure is not None:
        step = "" if last.failure.step is None else f" at step {last.failure.step}"
        return f"rank {last.failure.rank}{step}: {last.failure.message}"
    if known is None:
        return "Slurm has forgotten its job, and it left nothing behind" if state == "lost" else ""
    if known.preempted is not None and known.state == "RUNNING":
        return "being preempted"
    if state in ("failed", "killed", "stopped"):
        code = "" if known.exit_code is None else f", exit code {known.exit_code}"
        return f"job {known.job_id}: {known.state}{code}" + (f" ({known.reason})" if known.reason else "")
    return known.reason if not known.ended else ""


def _preemptions(history: History, holder: LeaseRecord | None) -> int:
    living = holder.attempt if holder else None
    ended = [record for record in history.records if record.job is not None and record.number != living]
    if history.cancelled and ended and ended[-1] is history.last:
        ended.pop()  # its user ended it
    return sum(record.outcome in ("stopped", "running") for record in ended)


def _plan(history: History) -> Plan | None:
    """The newest that can be read: an attempt's, before its first one the submission's."""
    paths = [attempt.plan for attempt in reversed(history.run.attempts())]
    paths += [history.folder.plan] if history.folder else []
    for path in paths:
        try:
            return read_plan(path)
        except BiodistError:
            continue
    return None


def _phase(far: Achieved | None, last: AttemptRecord | None, known: JobState | None) -> str:
    """What the newest attempt does; a job that has come back has not opened its attempt yet."""
    if known and last and last.job == known.job_id and known.holds_nodes and (known.restarts or 0) > last.restart:
        return "starting"
    return far.phase if far else ""


def _figures(far: Achieved | None, phase: str) -> dict[str, object]:
    if far is None:
        return {}
    best = far.best
    return {
        **{"step": far.step, "total_steps": far.total_steps, "phase": phase, "loss": far.loss},
        **{"seconds_left": far.seconds_left, "checkpoint_step": far.checkpoint_step},
        "next_checkpoint_step": far.next_checkpoint_step,
        **({"best_metric": best.metric, "best_score": best.value, "best_step": best.step} if best else {}),
    }
