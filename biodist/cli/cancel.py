"""``biodist cancel``: ends a run that is under way, wherever it is."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biodist.cli.say import err, out

if TYPE_CHECKING:
    from biodist.run.folder import RunFolder
    from launch.standing import History


def cancel(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    now: Annotated[bool, typer.Option("--now", help="Do not wait for a save: end it at once.")] = False,
) -> None:
    """Ends a run: its job on the cluster, waiting or running, or its processes on this machine. It does not come back.

    A running one is first asked to save and stop. Afterwards `biodist resume` goes on with it, if you want.
    Exit 0 also when it has ended already; 4 when it runs on another host, or Slurm does not answer.
    """
    from biodist.cli.named_run import named_run
    from launch.standing import History, living_holder

    folder = named_run(run)
    history = History.read(folder)
    holder = living_holder(folder)
    if holder is not None and holder.job is None:
        ended = _cancel_process(history, not now)
    elif history.submission is not None and not history.finished and not history.went_on_without_its_job:
        ended = _cancel_jobs(history, not now)
    else:
        ended = False
    _say_how(folder, run, ended)


def _cancel_process(history: History, save: bool) -> bool:
    from launch.cancellation import stop_process

    stop_process(history, save, err.print)
    return True


def _cancel_jobs(history: History, save: bool) -> bool:
    """Whether there was anything left to end."""
    from launch.cancellation import JobCancellation
    from launch.slurm.scheduler import Scheduler

    assert history.folder is not None
    cancellation = JobCancellation(history.folder, Scheduler(), err.print)
    if not cancellation.living():
        return False
    cancellation.carry_out(save)
    return True


def _say_how(folder: RunFolder, run: Path, ended: bool) -> None:
    from launch.achieved import published_steps
    from launch.standing import History, standing_of

    history = History.read(folder)
    state = standing_of(history, {}).state
    if state == "finished":
        out.print(f"{run}: finished" + ("" if ended else " already; nothing to cancel"))
        return
    saved = max(published_steps(folder), default=None)
    where = "nothing is saved" if saved is None else f"saved at step {saved:,}"
    out.print(f"{run}: {'ended' if ended else f'had ended already ({state})'}; {where}")
    out.print(f"go on with: biodist resume {shlex.quote(str(run))}{_where(folder)}")


def _where(folder: RunFolder) -> str:
    """The profile as it was submitted, wherever it came from."""
    from biodist.run.jobs import resume_options

    for job in reversed(folder.jobs()):
        if job.submission.exists() and job.profile.exists():
            return " " + shlex.join(resume_options(job))
    return ""
