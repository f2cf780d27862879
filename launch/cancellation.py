"""Ends a run that is under way: saved where there is time for it, and so that nobody brings it back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from biodist.errors import MachineCannot
from biodist.plan.plan import read_plan
from biodist.run.durable import write_json
from biodist.run.folder import JobFolder
from biodist.run.jobs import Submission
from biodist.run.lease import LeaseRecord
from biodist.run.process import process_space
from launch.slurm.job_state import JobState
from launch.slurm.scheduler import Scheduler
from launch.standing import History, living_holder

_LOOK_EVERY_S = 2.0
_KILLED_WITHIN_S = 120.0  # after a plain scancel: KillWait (30 s by default), epilogue, and Slurm's own pace
_SAID_EVERY_S = 10.0
_BETWEEN_SIGNALS_S = 0.5  # two of a kind that come together count as one

Say = Callable[[str], None]


@dataclass(frozen=True)
class JobCancellation:
    """Ends the jobs of one submission."""

    folder: JobFolder
    scheduler: Scheduler
    say: Say

    def living(self) -> list[JobState]:
        """Its jobs that have not ended, as they are submitted now: a job may have got a successor. Raises
        MachineCannot."""
        ids = [job.job_id for job in Submission.load(self.folder.submission).jobs]
        return [job for job in self.scheduler.jobs(ids).values() if not job.ended]

    def mark(self) -> None:
        """From here on no task brings its job back, and a job that begins ends at once. Raises OSError."""
        write_json(self.folder.cancelled, {"time": time.time()})

    def carry_out(self, save: bool) -> None:
        """Ends them all and waits for it. `save`: running ones are first asked to save, as long as the profile's
        signal lead allows. Raises MachineCannot when Slurm refuses, or a job does not end."""
        self.mark()
        living = self._without_waiting(self.living())
        if save and any(job.state == "RUNNING" for job in living):
            living = self._asked_to_save(living)
        for job in living:
            self.say(f"job {job.job_id}: scancel")
            self.scheduler.cancel(job.job_id)
        self._await_end(_KILLED_WITHIN_S, "end")
        if living := self.living():
            names = ", ".join(f"job {job.job_id} is {job.state}" for job in living)
            raise MachineCannot(
                f"{names} {_KILLED_WITHIN_S:.0f} s after scancel: it does not come back, but it still holds "
                f"{living[0].nodes or 'its place'}; ask the cluster's administrators if it stays"
            )

    def _without_waiting(self, living: list[JobState]) -> list[JobState]:
        """Those that wait go first: one that waits for another to end would start."""
        for job in living:
            if job.waits:
                self.scheduler.cancel(job.job_id)
                self.say(f"job {job.job_id} was waiting ({job.reason or job.state}): scancel")
        return [job for job in living if not job.waits]

    def _asked_to_save(self, living: list[JobState]) -> list[JobState]:
        patience_s = self._patience_s()
        for job in living:
            self.scheduler.signal(job.job_id, signal.SIGUSR2)
            self.say(f"job {job.job_id}: asked to save and stop; at most {patience_s} s")
        return self._await_end(patience_s, "save")

    def _await_end(self, patience_s: float, what: str) -> list[JobState]:
        """Those that have not ended by then. One that Slurm has put back to wait meanwhile is cancelled."""
        begun = said = time.monotonic()
        while living := self._without_waiting(self.living()):
            now = time.monotonic()
            if now - begun > patience_s:
                break
            if now - said > _SAID_EVERY_S:
                said = now
                self.say(f"waiting for job {living[0].job_id} to {what}: {now - begun:.0f} s")
            time.sleep(_LOOK_EVERY_S)
        return living

    def _patience_s(self) -> int:
        """What the profile says a step and a save may take."""
        profile = read_plan(self.folder.plan).profile
        return profile.signal_lead_s if profile else 0


def refuse_elsewhere(holder: LeaseRecord) -> None:
    """A process can be ended from its own machine alone. Raises MachineCannot, with the host's name."""
    if holder.process_space != process_space():
        raise MachineCannot(
            f"process {holder.pid} on {holder.host} writes to this run, and it cannot be reached from here: "
            f"run the command on {holder.host} (in the same container, if it runs in one)"
        )


def stop_process(history: History, save: bool, say: Say) -> None:
    """Asks the launcher of a run on this machine to stop, or to end at once; waits until it has.

    A launcher that stands still (Ctrl-Z) is continued, or it would not hear. Raises MachineCannot when it is another
    machine's or another user's.
    """
    holder = living_holder(history.run)
    if holder is None:
        return
    refuse_elsewhere(holder)
    try:
        with _opened(holder.pid) as send:
            if living_holder(history.run) != holder:
                return  # ended meanwhile: its number may be another's by now
            for number in (signal.SIGTERM,) if save else (signal.SIGINT, signal.SIGINT):
                send(number)
                send(signal.SIGCONT)
                time.sleep(_BETWEEN_SIGNALS_S)
    except ProcessLookupError:
        return
    except PermissionError:
        raise MachineCannot(f"process {holder.pid} belongs to another user, who alone can end it") from None
    say(f"process {holder.pid} on {holder.host}: asked to {'save and stop' if save else 'end at once'}")
    _await_release(history, holder, say)


@contextmanager
def _opened(pid: int) -> Iterator[Callable[[signal.Signals], None]]:
    """Sends signals to this very process, also if its number goes to another one meanwhile (Linux alone can)."""
    if not hasattr(os, "pidfd_open"):
        yield lambda number: os.kill(pid, number)
        return
    process = os.pidfd_open(pid)
    try:
        yield lambda number: signal.pidfd_send_signal(process, number)
    finally:
        os.close(process)


def _await_release(history: History, holder: LeaseRecord, say: Say) -> None:
    """However long a save takes: nobody presses on here. Ctrl-C ends the waiting alone."""
    begun = said = time.monotonic()
    while (now_holds := living_holder(history.run)) is not None and now_holds.token == holder.token:
        now = time.monotonic()
        if now - said > _SAID_EVERY_S:
            said = now
            say(f"waiting for process {holder.pid} to end: {now - begun:.0f} s")
        time.sleep(_BETWEEN_SIGNALS_S)
