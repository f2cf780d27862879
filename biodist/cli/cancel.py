"""``biodist cancel``: ends a run that is under way, wherever it is."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biodist.cli.say import err, out
from biodist.errors import MachineCannot

if TYPE_CHECKING:
    from biodist.run.folder import RunFolder
    from launch.standing import History


def cancel(
    run: Annotated[Path, typer.Argument(help="Folder of a run, of seeds or of a sweep: then all that are under way.")],
    now: Annotated[bool, typer.Option("--now", help="Do not wait for a save: end it at once.")] = False,
) -> None:
    """Ends a run: its job on the cluster, waiting or running, or its processes on this machine. It does not come back.

    A running one is first asked to save and stop. Afterwards `biodist resume` goes on with it, if you want.
    Exit 0 also when it has ended already; 4 when it runs on another host, or Slurm does not answer.
    """
    from biodist.cli.named_run import named_runs
    from biodist.run.folder import RunFolder
    from biodist.run.sweep_folder import SweepFolder
    from launch.driver_cancellation import cancel_driver

    of_sweep = SweepFolder(run.absolute())
    if is_sweep := of_sweep.is_sweep():
        cancel_driver(of_sweep, err.print)  # first: it would begin other trials in the place of those that end
    roots = named_runs(run)
    # Of seeds the last one first: it is the one that waits, and would start in the place of one that is ended.
    ended, unreached = dict[Path, bool](), list[str]()
    for root in reversed(roots):
        try:
            ended[root] = _cancel(RunFolder(root.absolute()), now)
        except MachineCannot as error:  # the other seeds can be ended all the same
            unreached.append(str(error))
    if unreached:
        raise MachineCannot("; ".join(unreached))
    if len(roots) > 1 and not any(ended.values()):
        what = "trial" if is_sweep else "seed"
        out.print(f"{run}: no {what} is under way; nothing to cancel")
        return
    for root, was_ended in ended.items():
        if was_ended or len(roots) == 1:
            _say_how(RunFolder(root.absolute()), root, was_ended, is_trial=is_sweep)
    if is_sweep:
        out.print(f"go on with: biodist sweep --resume {shlex.quote(str(run))}")


def _cancel(folder: RunFolder, now: bool) -> bool:
    """Whether there was anything left to end: a process here, a job on the cluster, or both."""
    from launch.cancellation import refuse_elsewhere, stop_process
    from launch.standing import History, living_holder

    history = History.read(folder)
    holder = living_holder(folder)
    if holder is None or holder.job is not None:
        return _cancel_jobs(history, not now, must_answer=not history.went_on_without_its_job)
    refuse_elsewhere(holder)
    # Its job first: it may wait for nothing else than this process to let go of the run. It has nothing to save.
    _cancel_jobs(history, save=False, must_answer=False)
    stop_process(history, not now, err.print)
    return True


def _cancel_jobs(history: History, save: bool, must_answer: bool) -> bool:
    """Whether there was a job left to end. Without `must_answer` a Slurm that does not answer is told of alone."""
    from launch.cancellation import JobCancellation
    from launch.slurm.scheduler import Scheduler

    if history.folder is None or not history.job_ids or history.finished:
        return False
    cancellation = JobCancellation(history.folder, Scheduler(), err.print)
    try:
        if not cancellation.living():
            return False
        cancellation.carry_out(save)
    except MachineCannot as error:
        if must_answer:
            raise
        cancellation.mark()
        err.print(f"job {history.job_ids[-1]} of this run: {error}. If it still waits, it ends as soon as it begins")
        return False
    return True


def _say_how(folder: RunFolder, run: Path, ended: bool, is_trial: bool) -> None:
    """What became of the run, and how to go on; a trial goes on with its sweep."""
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
    if not is_trial:
        out.print(f"go on with: biodist resume {shlex.quote(str(run))}{_where(folder)}")


def _where(folder: RunFolder) -> str:
    """The profile as it was submitted, wherever it came from."""
    from biodist.run.jobs import resume_options

    for job in reversed(folder.jobs()):
        if job.submission.exists() and job.profile.exists():
            return " " + shlex.join(resume_options(job))
    return ""
