"""``--rehearse`` of ``train`` and ``submit``: a few steps of a run, killed and resumed, then the verdict."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from biodist.cli.say import err, out
from biodist.errors import (
    EXIT_DONE,
    EXIT_SOME,
    EXIT_STOPPED,
    BiodistError,
    MachineCannot,
    Problem,
    RunFailed,
    Stopped,
    UserError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from biodist.cli.standings import Survey
    from biodist.plan.plan import Plan, Rehearsal
    from biodist.run.folder import RunFolder
    from launch.local import Outcome
    from launch.rehearsal.folder import RehearsalFolder

STEPS = 8
# Saved after steps 3, 4, 6 and 8. The kill falls between, while the save of step 4 may still be under way.
_CHANGES = ("train.epochs=null", f"train.max_steps={STEPS}", "checkpoint.every_steps=3", "evaluate.every=4")
KILL_STEP = 5
_LEAST_SCORED = 128  # samples of each scored split
_SCORED_BY_PROCESS = 32
_LOOK_EVERY_S = 2.0


def refuse_keep(keep: bool) -> None:
    """``--keep`` says something of a rehearsal alone. Raises UserError."""
    if keep:
        raise UserError(Problem("--keep", "is for a rehearsal", "add --rehearse, or leave it out"))


@dataclass(frozen=True)
class _Wish:
    """What the user typed."""

    recipe: str
    overrides: tuple[str, ...]
    nproc: int | None
    device: str = "auto"
    on: str | None = None
    nodes: int | None = None

    @property
    def changed(self) -> tuple[str, ...]:
        """The overrides of both runs: the recipe's own, then those that make it short."""
        return (*self.overrides, *_CHANGES)

    def command(self, run: Path) -> tuple[str, ...]:
        """What begins the run itself."""
        verb = "train" if self.on is None else "submit"
        given = {"--on": self.on, "--nodes": self.nodes, "--nproc": self.nproc}
        options = (word for name, value in given.items() if value for word in (name, str(value)))
        device = () if self.device == "auto" else ("--device", self.device)
        return ("biodist", verb, self.recipe, *self.overrides, "--run", str(run), *options, *device)


def rehearse_here(
    name: str, overrides: tuple[str, ...], root: Path | None, nproc: int | None, device: str, keep: bool
) -> int:
    """What ``biodist train --rehearse`` does; gives the exit code: 0, 5 when the verdict is bad, or why none came."""
    from biodist.cli.early_stop import early_stop

    wish = _Wish(name, overrides, nproc, device)
    with early_stop():
        folder, plan, run = _begun(wish, root)
    for rehearsed, how in _both(folder, plan):
        code = _lived(wish, rehearsed, how, plan)
        if code != EXIT_DONE:
            return code
    return _concluded(folder, plan, wish.command(run), run, keep)


def rehearse_on_cluster(
    name: str, overrides: tuple[str, ...], root: Path | None, on: str, nodes: int | None, nproc: int | None, keep: bool
) -> int:
    """What ``biodist submit --rehearse`` does; gives the exit code, as `rehearse_here`. Ctrl-C leaves the jobs."""
    from biodist.cli.submission import refuse_limits
    from biodist.cli.submit import submit_run
    from biodist.run.records import is_finished

    wish = _Wish(name, overrides, nproc, on=on, nodes=nodes)
    folder, plan, run = _begun(wish, root)
    refuse_limits(plan)
    begun: list[RunFolder] = []
    for rehearsed, how in _both(folder, plan):
        if is_finished(rehearsed) or _under_way(rehearsed):
            continue
        try:
            _, submitted = submit_run(name, wish.changed, rehearsed.root, on, nodes, nproc, how)
        except BiodistError:
            _call_off(begun)
            raise
        if submitted is not None:
            begun.append(rehearsed)
            err.print(f"{rehearsed.root}: job {submitted[1]}")
    try:
        _wait(folder.runs)
    except KeyboardInterrupt:
        cancels = " && ".join(f"biodist cancel {shlex.quote(str(one.root))}" for one in folder.runs)
        err.print(f"The jobs go on. The same command waits for them again; this ends them: {cancels}")
        return EXIT_STOPPED
    return _concluded(folder, plan, wish.command(run), run, keep)


def _call_off(runs: Sequence[RunFolder]) -> None:
    """Ends the jobs of runs whose counterpart was refused: one of two compares nothing."""
    from launch.cancellation import JobCancellation
    from launch.slurm.scheduler import Scheduler

    for run in runs:
        try:
            JobCancellation(run.jobs()[-1], Scheduler(), err.print).carry_out(save=False)
        except MachineCannot as error:  # the refusal is what the user must hear of
            err.print(f"{error}. End it: biodist cancel {shlex.quote(str(run.root))}")


def _begun(wish: _Wish, root: Path | None) -> tuple[RehearsalFolder, Plan, Path]:
    """The rehearsal's folder, new or to go on with, the plan of the run that it is for, and that run's folder."""
    from biodist.cli.prepare import prepare
    from biodist.cli.train import refuse_small_disk
    from biodist.run.folder import RunFolder, run_root
    from launch.rehearsal.folder import RehearsalFolder

    prepared = prepare(wish.recipe, wish.overrides, wish.nproc, wish.device, on=wish.on, nodes=wish.nodes)
    plan = prepared.plan
    run = (root or run_root(prepared.recipe.name, plan.core_digest)).absolute()
    refuse_small_disk(RunFolder(run), plan)
    folder = RehearsalFolder.beside(run)
    if folder.goes_on(plan):
        err.print(f"going on with the rehearsal in {folder.root}")
    else:
        for rehearsed in folder.runs:
            if _under_way(rehearsed):
                raise MachineCannot(
                    f"{rehearsed.root}: a rehearsal of another plan is under way; wait for it, or end it with "
                    f"`biodist cancel {rehearsed.root}`"
                )
        folder.begin(plan)
    return folder, plan, run


def _both(folder: RehearsalFolder, plan: Plan) -> tuple[tuple[RunFolder, Rehearsal], tuple[RunFolder, Rehearsal]]:
    from biodist.plan.plan import Rehearsal

    scored = _scored_samples(plan)
    return (
        (folder.undisturbed, Rehearsal(score_samples=scored)),
        (folder.disturbed, Rehearsal(score_samples=scored, kill_step=KILL_STEP)),
    )


def _scored_samples(plan: Plan) -> int:
    return max(_LEAST_SCORED, _SCORED_BY_PROCESS * plan.machine.world_size)


# ---- on this machine


def _lived(wish: _Wish, run: RunFolder, how: Rehearsal, plan: Plan) -> int:
    """Lives every attempt of a run, going on after the kill that was planned; gives the exit code."""
    from biodist.cli.train import live_attempt
    from launch.rehearsal.verdict import was_killed

    last_rank = plan.machine.world_size - 1
    while True:
        _, outcome = live_attempt(wish.recipe, wish.changed, run.root, wish.nproc, wish.device, how)
        if outcome is None or outcome.exit_code == EXIT_DONE:
            return EXIT_DONE
        if outcome.failure is None or not was_killed(run.attempts()[-1], last_rank):
            return _gave_up(run, outcome)
        err.print(f"rank {last_rank} was killed after step {how.kill_step}, as planned; going on from a checkpoint")


def _gave_up(run: RunFolder, outcome: Outcome) -> int:
    from launch.local import first_failure_report

    if outcome.failure is not None:
        err.print(f"biodist: the rehearsal in {run.root} failed. {first_failure_report(outcome)}")
        err.print("So would the run itself. Once the cause is mended, the same command goes on.")
    else:
        err.print("The rehearsal was stopped. The same command goes on with it.")
    return outcome.exit_code


# ---- on a cluster


def _under_way(run: RunFolder) -> bool:
    """Whether anybody works on it, or will. Raises MachineCannot when Slurm must be asked and does not answer."""
    from biodist.cli.standings import survey

    if not run.is_run() and not run.jobs():
        return False
    found = survey([run.root])
    if found.no_slurm is not None:
        raise found.no_slurm
    return found.under_way


def _wait(runs: Sequence[RunFolder]) -> None:
    """Shows how both stand until both have finished.

    Raises:
        RunFailed: one of them will not finish.
        Stopped: one of them was cancelled.
    """
    found = _watched(runs)
    for seen in found.runs:
        state = seen.standing.state if seen.standing else "unreadable"
        if state == "finished":
            continue
        reason = seen.standing.reason if seen.standing else seen.problem
        logs = f"biodist logs {shlex.quote(seen.name)}"
        said = f"{seen.name}: {state}" + (f" ({reason})" if reason else "") + f"; its log: {logs}. "
        if state == "cancelled":
            raise Stopped(said + "The same command goes on with the rehearsal")
        raise RunFailed(said + "So would the run itself. Once the cause is mended, the same command goes on")


def _watched(runs: Sequence[RunFolder]) -> Survey:
    """Looks until nothing is under way, and once more: a job that comes back may be between two of Slurm's states."""
    from biodist.cli.standings import survey

    idle = 0
    with _shown() as show:
        while True:
            found = survey([run.root for run in runs])
            show(found)
            idle = 0 if found.under_way or found.no_slurm is not None else idle + 1
            finished = all(seen.standing is not None and seen.standing.state == "finished" for seen in found.runs)
            if (finished and _have_ended(runs)) or (not finished and idle > 1):
                return found
            time.sleep(_LOOK_EVERY_S)


def _have_ended(runs: Sequence[RunFolder]) -> bool:
    """Whether Slurm says so of all their jobs: one whose run has finished still writes for a moment."""
    from biodist.run.jobs import Submission
    from launch.slurm.scheduler import Scheduler

    folders = [job for run in runs for job in run.jobs() if job.submission.exists()]
    known = [known.job_id for job in folders for known in Submission.load(job.submission).jobs]
    try:
        return all(state.ended for state in Scheduler().jobs(known).values())
    except MachineCannot:  # it does not answer just now
        return False


@contextmanager
def _shown() -> Iterator[Callable[[Survey], None]]:
    """Shows a survey: a table that changes on a terminal, elsewhere the lines that are new."""
    from rich.live import Live

    from biodist.cli.status_table import line, rendered

    if err.is_terminal:
        with Live(console=err, auto_refresh=False, transient=True) as live:
            yield lambda found: live.update(rendered(found), refresh=True)
        return
    shown: dict[str, tuple[object, ...]] = {}

    def show(found: Survey) -> None:
        for seen in found.runs:
            standing = seen.standing  # the time left alone is no news
            news = (standing.state, standing.reason, standing.phase, standing.step) if standing else (seen.problem,)
            if shown.get(seen.name) != news:
                err.print(line(seen))
            shown[seen.name] = news

    yield show


# ---- the verdict


def _concluded(folder: RehearsalFolder, plan: Plan, command: tuple[str, ...], run: Path, keep: bool) -> int:
    """Compares, writes and shows the verdict; the runs go when it is good."""
    from biodist.cli.rehearsal_checks import checks_of
    from biodist.cli.rehearsal_table import print_verdict
    from launch.rehearsal.pace import measured, projection
    from launch.rehearsal.verdict import Verdict
    from launch.slurm.grace import grace_notice, measured_pace

    checks = checks_of(folder, plan, KILL_STEP)
    seconds = measured(folder.runs)
    scored, profile = _scored_samples(plan), plan.profile
    pace = measured_pace(folder.undisturbed)
    verdict = Verdict(
        good=all(check.good for check in checks),
        run=str(run),
        time=time.time(),
        command=command,
        profile=profile.name if profile else None,
        device=plan.machine.device_name,
        nodes=plan.machine.nodes,
        world_size=plan.machine.world_size,
        strategy=plan.strategy,
        precision=plan.precision,
        micro_batch=plan.batch.micro_batch,
        steps=STEPS,
        killed_after_step=KILL_STEP,
        scored_samples=scored,
        checks=checks,
        seconds=seconds,
        projection=projection(plan, seconds, scored),
        stop_s=pace.needed_s if pace else None,
        signal_lead_s=profile.signal_lead_s if profile else None,
        grace_s=profile.grace_s if profile else None,
        notices=tuple(grace_notice(folder.undisturbed, profile)),
    )
    verdict.save(folder.verdict)
    print_verdict(out, verdict)
    out.print(str(folder.verdict))
    if verdict.good and not keep:
        folder.clear()
    elif not verdict.good:
        err.print(f"Both runs are kept in {folder.root}")
    if verdict.good:
        out.print(shlex.join(command))
    return EXIT_DONE if verdict.good else EXIT_SOME
