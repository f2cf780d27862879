"""Ends the driver of a sweep, wherever it is, so that it begins nothing more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from biodist.errors import MachineCannot
from biodist.run.folder import JobFolder
from biodist.run.sweep_folder import SweepFolder
from launch.cancellation import JobCancellation, refuse_elsewhere
from launch.slurm.scheduler import Scheduler
from launch.standing import living_holder

_LOOK_EVERY_S = 0.5


def cancel_driver(folder: SweepFolder, say: Callable[[str], None]) -> bool:
    """Ends its job or its process, and waits for the process; whether there was one.

    A driver on this machine saves and stops the trials that it runs here. Raises MachineCannot where it is on another
    host, or Slurm refuses.
    """
    jobs = [job for job in folder.driver.jobs() if job.submission.exists()]
    had_job = any(_cancel_job(job, say) for job in jobs[-1:])
    return _stop_process(folder, say) or had_job


def _cancel_job(job: JobFolder, say: Callable[[str], None]) -> bool:
    cancellation = JobCancellation(job, Scheduler(), say)
    cancellation.mark()
    living = cancellation.living()
    for state in living:
        cancellation.scheduler.cancel(state.job_id)
        say(f"job {state.job_id}, which drives this sweep: scancel")
    return bool(living)


def _stop_process(folder: SweepFolder, say: Callable[[str], None]) -> bool:
    """Asks it once, and waits however long its trials take to save. Ctrl-C ends the waiting alone."""
    asked: int | None = None
    while (holder := living_holder(folder.driver)) is not None and holder.job is None:
        refuse_elsewhere(holder)
        if asked != holder.pid:
            asked = holder.pid
            say(f"process {holder.pid} on {holder.host}, which drives this sweep: asked to stop")
            try:
                with suppress(ProcessLookupError):
                    os.kill(holder.pid, signal.SIGTERM)
            except PermissionError:
                raise MachineCannot(f"process {holder.pid} belongs to another user, who alone can end it") from None
        time.sleep(_LOOK_EVERY_S)
    return asked is not None
