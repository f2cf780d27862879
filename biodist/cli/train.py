"""``biodist train``: runs a recipe here, or goes on with an unfinished run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biodist.cli.say import err, out
from biodist.errors import EXIT_DONE, EXIT_STOPPED, BiodistError, MachineCannot

if TYPE_CHECKING:
    from biodist.config.recipe import Recipe
    from biodist.plan.plan import Plan, Rehearsal
    from biodist.run.folder import AttemptFolder, RunFolder
    from biodist.run.lease import Lease
    from launch.local import Outcome

Baselines = Callable[[], Mapping[str, Mapping[str, float]]]


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe: a YAML file, or a name that `biodist recipes` lists.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes: train.learning_rate=1e-5.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; runs/<name>-<core> when not given.")] = None,
    nproc: Annotated[int | None, typer.Option(min=1, help="Processes; the number of GPUs, or 1.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="A few steps, killed and resumed; then a verdict.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="With --rehearse: keep its two runs.")] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of so many seeds, from train.seed on; their mean and spread.")
    ] = None,
) -> None:
    """Trains a recipe on this machine. On an unfinished run's folder it resumes; on a finished one it says so."""
    from biodist.cli.rehearse import refuse_keep, rehearse_here
    from biodist.cli.seeds import refuse_rehearsal, train_seeds

    if rehearse:
        refuse_rehearsal(seeds)
        raise typer.Exit(rehearse_here(recipe, tuple(overrides or ()), run, nproc, device, keep))
    refuse_keep(keep)
    if seeds is not None:
        raise typer.Exit(train_seeds(recipe, tuple(overrides or ()), run, seeds, nproc, device))
    raise typer.Exit(train_recipe(recipe, tuple(overrides or ()), run, nproc, device))


def train_recipe(
    name: str,
    overrides: tuple[str, ...],
    root: Path | None,
    nproc: int | None,
    device: str,
    baselines: Baselines | None = None,
) -> int:
    """What ``biodist train`` does, for other commands as well; gives the exit code.

    ``baselines`` are scores of other taggers on the same test split, asked for when there is a table to show.
    """
    folder, outcome = live_attempt(name, overrides, root, nproc, device)
    if outcome is None:
        say_finished(folder, baselines)
        return EXIT_DONE
    return _conclude(folder, outcome, baselines)


def live_attempt(
    name: str,
    overrides: tuple[str, ...],
    root: Path | None,
    nproc: int | None,
    device: str,
    rehearsal: Rehearsal | None = None,
) -> tuple[RunFolder, Outcome | None]:
    """One attempt of a run, from the recipe to its end; another with a smaller micro-batch where memory ran out.
    No outcome: the run was finished already."""
    from biodist.cli.early_stop import early_stop
    from biodist.cli.prepare import prepare
    from biodist.config.core import core_digest, refuse_other_core
    from biodist.config.loading import load_recipe
    from biodist.run.folder import RunFolder, run_root
    from biodist.run.lease import Lease
    from biodist.run.records import is_finished
    from launch.local import first_failure_report
    from launch.micro_batch import can_shrink, carried_on

    recipe = load_recipe(name, overrides)
    root = root or run_root(recipe.name, core_digest(recipe))
    sensitive = recipe.data.sensitive
    # A folder that is there is looked at first; one that is not is made once nothing more can be wrong with the input.
    folder = RunFolder.prepare(root, sensitive) if root.exists() else RunFolder(root.absolute())
    refuse_other_core(folder, recipe)
    if is_finished(folder):
        return folder, None
    with early_stop():
        prepared = prepare(name, overrides, nproc, device, _command(folder, name, overrides, nproc, device))
        plan = prepared.plan.model_copy(update={"rehearsal": rehearsal})
        refuse_small_disk(folder, plan)
        RunFolder.prepare(root, sensitive)
        while True:
            with Lease.acquire(folder) as lease:
                refuse_other_core(folder, recipe)  # another command may have begun or ended here in the meantime
                if is_finished(folder):
                    return folder, None
                _refuse_waiting_job(folder)
                outcome = _attempt(folder, lease, prepared.recipe, carried_on(plan, folder))
            if not (outcome.failure and can_shrink(folder.attempts()[-1])):
                return folder, outcome
            err.print(f"Memory ran out: {first_failure_report(outcome)}", markup=False, soft_wrap=True)
            err.print("Going on from the last checkpoint, with half the micro-batch.")


def _refuse_waiting_job(folder: RunFolder) -> None:
    """A job of this run that waits in a queue would go on with it later, unasked."""
    if not folder.jobs():
        return
    from biodist.cli.submission import refuse_living_job
    from launch.slurm.scheduler import Scheduler

    if Scheduler().available():
        refuse_living_job(folder)


def _command(
    folder: RunFolder, name: str, overrides: tuple[str, ...], nproc: int | None, device: str
) -> tuple[str, ...]:
    """What a person types to go on with this run."""
    command = ("biodist", "train", name, *overrides, "--run", str(folder.root))
    command += ("--nproc", str(nproc)) if nproc else ()
    return command + (("--device", device) if device != "auto" else ())


def _attempt(folder: RunFolder, lease: Lease, recipe: Recipe, plan: Plan) -> Outcome:
    from biodist.run.lease import Replaced
    from launch.attempt_record import remove_unfinished
    from launch.local import run_attempt
    from launch.progress import RunProgress

    for notice in plan.notices:
        err.print(f"note: {notice}")
    attempt = _open_attempt(folder, lease, recipe, plan)
    fence = lease.fence(attempt)
    earlier = attempt.number - 1
    err.print(
        f"run {folder.root}, attempt {attempt.number}: {plan.machine.world_size} process"
        f"{'es' if plan.machine.world_size > 1 else ''} ({plan.machine.device}, {plan.strategy}), "
        f"{plan.batch.total_steps} steps of {plan.batch.global_batch} samples"
        + (f"; {earlier} earlier attempt{'s' if earlier > 1 else ''}" if earlier else "")
    )
    with RunProgress(attempt, plan, err) as progress:

        def watch() -> None:
            if lease.lost.is_set():
                fence.check()
            progress.watch()

        try:
            outcome = run_attempt(attempt, plan, lease.token, watch=watch, say=progress.say)
            if outcome.failure:
                fence.check()  # of a run that was taken over in the meantime, that is what there is to say
        except Replaced:
            remove_unfinished(attempt)
            raise
    if outcome.failure:
        keep_failure(folder, fence.hold)
    return outcome


def keep_failure(folder: RunFolder, publishing: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
    """``result.json`` says that the run failed, and how far its events got. A full disk must not hide the cause.

    ``publishing`` is entered to write it, and raises where this attempt may no longer write.
    """
    from biodist.metrics.events import StepEvent
    from biodist.metrics.stream import Totals, stitch
    from biodist.plan.plan import read_plan
    from biodist.run.records import Result

    totals = Totals()
    try:
        for event in stitch(folder).events():
            totals = totals.plus(event) if isinstance(event, StepEvent) else totals
        result = Result(
            status="failed",
            steps=totals.steps,
            samples_seen=totals.samples,
            tokens_seen=totals.tokens,
            train_seconds=totals.seconds,
            tokens_per_second=totals.tokens / totals.seconds if totals.seconds else 0.0,
            micro_batches=tuple(read_plan(attempt.plan).batch.micro_batch for attempt in folder.attempts()),
        )
        with publishing():
            result.save(folder.result)
    except (OSError, BiodistError) as error:
        err.print(f"{folder.result}: could not be brought up to date: {error}")


def say_finished(folder: RunFolder, baselines: Baselines | None) -> None:
    """The result, and how to begin anew."""
    show_result(folder, baselines)
    err.print(
        f"The run in {folder.root} is finished: nothing to do. For a new one name another folder "
        f"(--run runs/again), or change the recipe (train.seed=43), or remove this one (rm -r {folder.root})."
    )


def show_result(folder: RunFolder, baselines: Baselines | None = None) -> None:
    """The final table of a finished run."""
    from biodist.cli.table import print_result
    from biodist.run.records import Result

    print_result(
        out, Result.load(folder.result).model_dump(mode="json"), folder.root, baselines() if baselines else None
    )


def refuse_small_disk(folder: RunFolder, plan: Plan) -> None:
    """Checkpoints that would not fit are found out before the start. Raises MachineCannot."""
    needed = disk_needed(folder, plan)
    free = disk_free(folder.root)
    if needed > free:
        raise MachineCannot(
            f"{folder.root}: the disk has {free / 1e9:.2f} GB free, and the run needs {needed / 1e9:.2f} GB "
            f"(checkpoints of {plan.disk.checkpoint / 1e9:.2f} GB each). Make room, name another disk with --run, or "
            "keep fewer (checkpoint.keep_last=1)"
        )


def disk_needed(folder: RunFolder, plan: Plan) -> int:
    """Bytes that a run will still write, beside the checkpoints that are there."""
    there = (
        sum(f.stat().st_size for f in folder.checkpoints.rglob("*") if f.is_file())
        if folder.checkpoints.is_dir()
        else 0
    )
    return plan.disk.retained + plan.disk.model - there


def disk_free(folder: Path) -> int:
    """Bytes that are free where a folder is, or is to be."""
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def _open_attempt(folder: RunFolder, lease: Lease, recipe: Recipe, plan: Plan) -> AttemptFolder:
    """The plan is on disk before anything starts."""
    from biodist.config.writing import recipe_yaml
    from biodist.plan.plan import write_plan
    from biodist.run.durable import write_text
    from biodist.run.provenance import provenance

    versions = provenance({"data": plan.data.fingerprint})
    with lease.fence().hold():
        write_text(folder.recipe, recipe_yaml(recipe))
        versions.save(folder.provenance)
        attempt = folder.new_attempt()
        write_plan(plan, attempt.plan)
    return attempt


def _conclude(folder: RunFolder, outcome: Outcome, baselines: Baselines | None) -> int:
    from launch.local import first_failure_report
    from launch.micro_batch import out_of_memory_advice

    if outcome.exit_code == EXIT_DONE:
        show_result(folder, baselines)
    elif outcome.exit_code == EXIT_STOPPED:
        err.print(f"Stopped and saved. The same command goes on from there (run {folder.root}).")
    elif outcome.failure:
        err.print(f"biodist: the run in {folder.root} failed. {first_failure_report(outcome)}")
        if advice := out_of_memory_advice(folder.attempts()[-1]):
            err.print(advice)
        err.print("The same command goes on from the last checkpoint, once the cause is mended.")
    return outcome.exit_code
