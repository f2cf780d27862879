"""What becomes of a job once its attempt has ended: it comes back, or it is over.

A job that exits inside its grace time is not requeued by Slurm, so it requeues itself, once everything is saved.
Where requeueing is forbidden or `scontrol` is missing, another job takes its place, waiting for this one to end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from biodist.config.profile import Profile
from biodist.errors import EXIT_FAILED, EXIT_STOPPED, BiodistError, MachineCannot
from biodist.plan.plan import read_plan
from biodist.run.durable import read_json_lines
from biodist.run.folder import JobFolder, RunFolder
from biodist.run.jobs import Submission
from biodist.run.records import AttemptRecord
from launch.slurm.job_state import JobState
from launch.slurm.life import Life
from launch.slurm.scheduler import Scheduler
from launch.slurm.submission import submit

_MARGIN_S = 45.0  # SlurmdTimeout is looked at in turns of its third
_ASK_EVERY_S = 5.0
_LIVES_WITHOUT_ATTEMPT = 10  # Slurm misses a node after SlurmdTimeout, 300 s by default; a requeue takes about 120 s


def claimed(job: JobFolder, life: Life) -> bool:
    """Whether this task is the one that brings the job back. True once in each life of a job."""
    path = job.claim(life.job_id, life.restart)
    path.parent.mkdir(exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump({"rank": life.rank, "node": life.node, "time": time.time()}, file)
    return True


def bring_back(
    job: JobFolder,
    life: Life,
    profile: Profile,
    exit_code: int,
    say: Callable[[str], None],
    task: Callable[[], int],
    lost_node: bool = False,
) -> None:
    """Requeues the job, or submits the one that takes its place, when its run is to go on. Says what it did.

    `task` is what a job that takes its place runs. `lost_node`: a node seems to be gone; Slurm brings the job back by
    itself once it misses the node, and would give it the same node before.
    """
    if exit_code not in (EXIT_STOPPED, EXIT_FAILED):
        return
    if job.cancelled.exists():
        say("cancelled by `biodist cancel`: it does not come back")
        return
    if exit_code == EXIT_FAILED and (failures := failures_in_a_row(job.run)) >= profile.max_failures:
        say(
            f"{failures} attempts in a row have failed at the same step (max_failures {profile.max_failures}): it does "
            f"not come back. Mend the cause, then: biodist resume {job.run.root} --on {profile.name}"
        )
        return
    if (lives := lives_without_attempt(job)) >= _LIVES_WITHOUT_ATTEMPT:
        say(
            f"the tasks could not be started {lives} times in a row (see Slurm's words above): it does not come back. "
            f"Mend the cause, then: biodist resume {job.run.root} --on {profile.name}"
        )
        return
    scheduler = Scheduler()
    try:
        state = scheduler.job(life.job_id)
        if state is not None and (why := _over(state, life)):
            say(why)
            return
    except BiodistError as error:
        say(f"its state in Slurm is not known: {error}")
    if profile.requeue and lost_node and _missed_by_slurm(scheduler, life, say):
        return
    if not (profile.requeue and _requeued(scheduler, life, say)):
        _succeeded(job, life, profile, say, task)


def _over(state: JobState, life: Life) -> str:
    """Why nothing is to be done, by what Slurm says; empty when the job is to be brought back.

    Slurm would requeue a job that somebody has cancelled. It says COMPLETING of every job that it is ending: with no
    time left, its limit was reached; with more restarts than this life has, Slurm brings it back itself.
    """
    if state.is_ending and (state.restarts or 0) > life.restart:
        return "Slurm brings it back itself"
    if state.ended or (state.is_ending and state.time_left_s != 0):
        return f"cancelled (Slurm says {state.state}): it does not come back"
    return ""


def failures_in_a_row(run: RunFolder) -> int:
    """Attempts that failed, newest first, all of which went on from the step the next one would go on from."""
    saved = newest_saved_step(run)
    count = 0
    for attempt in reversed(run.attempts()):
        if not attempt.record.exists():
            continue
        record = AttemptRecord.load(attempt.record)
        if record.outcome != "failed" or (record.resumed_step or 0) != saved:
            break
        count += 1
    return count


def lives_without_attempt(job: JobFolder) -> int:
    """Lives of the submission's jobs, newest first, in which no attempt was opened: a node that is gone and that Slurm
    has not missed yet is given to the job again."""
    claims = [(path, json.loads(path.read_text(encoding="utf-8"))["time"]) for path in job.claims()]
    newest_first = sorted(claims, key=lambda claim: -float(claim[1]))
    count = 0
    for path, _ in newest_first:
        if job.call_of(path).exists():
            break
        count += 1
    return count


def newest_saved_step(run: RunFolder) -> int:
    """The step of the newest checkpoint that was published; 0 when there is none."""
    steps = [
        event["step"]
        for attempt in run.attempts()
        for event in read_json_lines(attempt.events(0))
        if event.get("kind") == "saved"
    ]
    there = [step for step in steps if run.checkpoint(step).is_dir()]
    return max(there, default=0)


def _missed_by_slurm(scheduler: Scheduler, life: Life, say: Callable[[str], None]) -> bool:
    """Waits for Slurm to find out that a node is gone. Most often this task is ended while it waits."""
    try:
        patience_s = scheduler.node_patience_s() + _MARGIN_S
        say(f"a node seems to be lost: Slurm brings the job back once it misses it (within {patience_s:.0f} s)")
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            state = scheduler.job(life.job_id)
            if state is not None and (state.restarts or 0) > life.restart:
                say("Slurm brings it back")
                return True
            time.sleep(_ASK_EVERY_S)
    except MachineCannot as error:
        say(f"its state in Slurm is not known: {error}")
    return False


def _requeued(scheduler: Scheduler, life: Life, say: Callable[[str], None]) -> bool:
    try:
        scheduler.requeue(life.job_id)
    except MachineCannot as error:
        say(f"could not be requeued: {error}")
        return False
    say(f"requeued: {life.name} goes on where it stopped")
    return True


def _succeeded(
    job: JobFolder, life: Life, profile: Profile, say: Callable[[str], None], task: Callable[[], int]
) -> None:
    known = [known.after for known in Submission.load(job.submission).jobs]
    if life.job_id in known:
        say(f"another job already waits for job {life.job_id} to end")
        return
    try:
        job_id = submit(job, read_plan(job.plan), task, after=life.job_id)
    except BiodistError as error:
        say(f"no job could take its place: {error}. Go on with: biodist resume {job.run.root} --on {profile.name}")
        return
    say(f"job {job_id} takes its place and begins once job {life.job_id} has ended")
