"""What becomes of a job once its attempt has ended: it comes back, or it is over.

A job that exits inside its grace time is not requeued by Slurm, so it requeues itself, once everything is saved.
Where requeueing is forbidden or `scontrol` is missing, another job takes its place, waiting for this one to end.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from biodist.config.profile import Profile
from biodist.errors import EXIT_FAILED, EXIT_MACHINE, EXIT_STOPPED, BiodistError, MachineCannot
from biodist.plan.plan import read_plan
from biodist.run.folder import JobFolder, RunFolder
from biodist.run.jobs import Submission, resume_command
from biodist.run.records import AttemptRecord
from launch.achieved import published_steps
from launch.micro_batch import can_shrink
from launch.slurm.handover import hand_over
from launch.slurm.job_state import JobState
from launch.slurm.life import Call, Life
from launch.slurm.scheduler import Scheduler
from launch.slurm.submission import can_submit, submit

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
    with suppress(OSError), os.fdopen(handle, "w") as file:  # what it says is for people; that it is there counts
        file.write(f"rank {life.rank} on {life.node}\n")
    return True


@dataclass(frozen=True)
class Comeback:
    """Requeues a job, or submits the one that takes its place, when its run is to go on. Says what it did.

    `task` is what a job that takes its place runs.
    """

    job: JobFolder
    life: Life
    profile: Profile
    say: Callable[[str], None]
    task: Callable[[], int]

    def bring_back(self, exit_code: int, lost_node: bool = False) -> None:
        """`exit_code`: how the attempt ended. `lost_node`: a node seems to be gone; Slurm brings the job back by itself
        once it misses the node, and would give it the same node before."""
        if not self._goes_on(exit_code):
            return
        scheduler = Scheduler()
        if self._is_over(scheduler):
            return
        waited = self.profile.requeue and lost_node
        if waited and (self._missed_by_slurm(scheduler) or self._is_over(scheduler)):
            return
        if not (self.profile.requeue and self._requeued(scheduler)):
            self._succeeded()

    def _goes_on(self, exit_code: int) -> bool:
        """Whether the run is to go on, by how it ended and what came before."""
        if exit_code == EXIT_MACHINE and newest_saved_step(self.job.run) > 0:
            exit_code = EXIT_FAILED  # it has run before: other nodes may be able to
        if exit_code not in (EXIT_STOPPED, EXIT_FAILED):
            return False
        mend = f"it does not come back. Mend the cause, then: {self.resume_command}"
        most = self.profile.max_failures
        if exit_code == EXIT_FAILED and (failures := failures_in_a_row(self.job.run)) >= most:
            self.say(f"{failures} attempts in a row have failed at the same step (max_failures {most}): {mend}")
            return False
        if (lives := lives_without_attempt(self.job)) >= _LIVES_WITHOUT_ATTEMPT:
            self.say(f"no attempt could be begun {lives} times in a row (see the words above): {mend}")
            return False
        return True

    @property
    def resume_command(self) -> str:
        """What a person types to go on, with the very profile of this submission."""
        return resume_command(self.job)

    def _is_over(self, scheduler: Scheduler) -> bool:
        if self.job.cancelled.exists():
            self.say("cancelled by `biodist cancel`: it does not come back")
            return True
        if not scheduler.available():
            return False
        try:
            state = scheduler.job(self.life.job_id)
        except BiodistError as error:
            self.say(f"its state in Slurm is not known: {error}")
            return False
        if state is None or not (why := over(state, self.life)):
            return False
        self.say(why)
        return True

    def _missed_by_slurm(self, scheduler: Scheduler) -> bool:
        """Waits for Slurm to find out that a node is gone. Most often this task is ended while it waits."""
        if not scheduler.available():
            return False
        if scheduler.nodes_answer(self.life.job_id, len(self.life.nodes)):
            self.say("every node of the job answers: none is lost")
            return False
        try:
            patience_s = scheduler.node_patience_s() + _MARGIN_S
            self.say(
                f"a node seems to be lost: Slurm brings the job back once it misses it (in {patience_s:.0f} s or less)"
            )
            until = time.monotonic() + patience_s
            while time.monotonic() < until and not self.job.cancelled.exists():
                state = scheduler.job(self.life.job_id)
                if state is not None and (state.restarts or 0) > self.life.restart:
                    self.say("Slurm brings it back")
                    return True
                time.sleep(_ASK_EVERY_S)
        except MachineCannot as error:
            self.say(f"its state in Slurm is not known: {error}")
        return False

    def _requeued(self, scheduler: Scheduler) -> bool:
        if shutil.which("scontrol") is None:
            return False
        try:
            scheduler.requeue(self.life.job_id)
        except MachineCannot as error:
            self.say(f"could not be requeued: {error}")
            return False
        self.say(f"requeued: {self.life.name} goes on where it stopped")
        return True

    def _succeeded(self) -> None:
        if self.life.job_id in [known.after for known in Submission.load(self.job.submission).jobs]:
            self.say(f"another job already waits for job {self.life.job_id} to end")
            return
        if not can_submit():
            self._handed_over()
            return
        try:
            job_id = submit(self.job, read_plan(self.job.plan), self.task, after=self.life.job_id)
        except BiodistError as error:
            self.say(f"no job could take its place: {error}. Go on with: {self.resume_command}")
            return
        self.say(f"job {job_id} takes its place and begins once job {self.life.job_id} has ended")

    def _handed_over(self) -> None:
        try:
            hand_over(self.job, self.life, read_plan(self.job.plan), self.resume_command)
        except OSError as error:
            self.say(f"no Slurm here, and {error.filename}: {error.strerror}. Go on with: {self.resume_command}")
            return
        self.say(f"no Slurm here ({self.life.node}): left to the batch script, which runs outside of any container")


def over(state: JobState, life: Life) -> str:
    """Why nothing is to be done, by what Slurm says; empty when the job is to be brought back.

    Slurm would requeue a job that somebody has cancelled. It says COMPLETING of every job that it is ending: with no
    time left, its limit was reached; preempted where jobs are not requeued, its grace time is over; with more restarts
    than this life has, Slurm brings it back itself.
    """
    if state.is_ending:
        if (state.restarts or 0) > life.restart:
            return "Slurm brings it back itself"
        cancelled = state.time_left_s != 0 and state.preempted is None
    else:
        cancelled = state.state in ("CANCELLED", "COMPLETED")
    return f"cancelled (Slurm says {state.state}): it does not come back" if cancelled else ""


def failures_in_a_row(run: RunFolder) -> int:
    """Attempts that failed, newest first, all of which went on from the step the next one would go on from.

    One that ran out of memory does not count, as long as the next takes a smaller micro-batch.
    """
    saved = newest_saved_step(run)
    count = 0
    for attempt in reversed(run.attempts()):
        if not attempt.record.exists():
            continue
        record = AttemptRecord.load(attempt.record)
        # None: it failed before it had found anything to go on from.
        if record.outcome != "failed" or record.resumed_step not in (None, saved):
            break
        count += not can_shrink(attempt)
    return count


def lives_without_attempt(job: JobFolder) -> int:
    """Lives of the submission's jobs, newest first, in which no attempt was opened: a node that is gone and that Slurm
    has not missed yet is given to the job again."""
    count = 0
    for path in sorted(job.claims(), key=lambda path: -path.stat().st_mtime):
        call = job.call_of(path)
        if call.exists() and Call.load(call).attempt is not None:
            break
        count += 1
    return count


def newest_saved_step(run: RunFolder) -> int:
    """The step the next attempt goes on from; 0 when nothing is saved."""
    return max(published_steps(run), default=0)
