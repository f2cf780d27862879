"""``biodist submit``: the same recipe, on a cluster."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from biodist.cli.say import err, out
from biodist.errors import EXIT_DONE, BiodistError, MachineCannot, Problem, UserError

if TYPE_CHECKING:
    from biodist.config.recipe import Recipe
    from biodist.plan.plan import Plan, Rehearsal
    from biodist.run.folder import JobFolder, RunFolder


def submit(
    recipe: Annotated[str, typer.Argument(help="Recipe: a YAML file, or a name that `biodist recipes` lists.")],
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[KEY=VALUE]...", help="Changes: train.learning_rate=1e-5."),
    ] = None,
    on: Annotated[str, typer.Option(help="Profile: a name that `biodist profiles` lists, or a YAML file.")] = "",
    run: Annotated[Optional[Path], typer.Option(help="Run folder; runs/<name>-<core> when not given.")] = None,  # noqa: UP045
    nodes: Annotated[Optional[int], typer.Option(min=1, help="Nodes; the profile's when not given.")] = None,  # noqa: UP045
    nproc: Annotated[Optional[int], typer.Option(min=1, help="Processes on a node; the profile's.")] = None,  # noqa: UP045
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="A few steps, killed and resumed; then a verdict.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="With --rehearse: keep its two runs.")] = False,
) -> None:
    """Submits a recipe to a Slurm cluster. It is requeued when preempted, and goes on where it was saved."""
    from biodist.cli.rehearse import refuse_keep, rehearse_on_cluster

    if not on:
        raise UserError(Problem("--on", "names no profile", "`biodist profiles` lists them; or use `biodist train`"))
    if rehearse:
        raise typer.Exit(rehearse_on_cluster(recipe, tuple(overrides or ()), run, on, nodes, nproc, keep))
    refuse_keep(keep)
    raise typer.Exit(submit_recipe(recipe, tuple(overrides or ()), run, on, nodes, nproc))


@dataclass(frozen=True)
class _Wish:
    """What the user typed."""

    recipe: str
    overrides: tuple[str, ...]
    on: str
    nodes: int | None
    nproc: int | None

    def command(self, root: Path) -> tuple[str, ...]:
        """What a person types to submit it again."""
        command = ("biodist", "submit", self.recipe, *self.overrides, "--on", self.on, "--run", str(root))
        command += ("--nodes", str(self.nodes)) if self.nodes else ()
        return command + (("--nproc", str(self.nproc)) if self.nproc else ())


def submit_recipe(
    name: str, overrides: tuple[str, ...], root: Path | None, on: str, nodes: int | None, nproc: int | None
) -> int:
    """What ``biodist submit`` and ``biodist resume --on`` do; gives the exit code."""
    from biodist.cli.train import say_finished

    folder, submitted = submit_run(name, overrides, root, on, nodes, nproc)
    if submitted is None:
        say_finished(folder, None)
    else:
        _say_submitted(folder, *submitted)
    return EXIT_DONE


def submit_run(
    name: str,
    overrides: tuple[str, ...],
    root: Path | None,
    on: str,
    nodes: int | None,
    nproc: int | None,
    rehearsal: Rehearsal | None = None,
) -> tuple[RunFolder, tuple[Plan, str] | None]:
    """From the recipe to the job: gives what was submitted and its number, or None where the run is finished."""
    from biodist.cli.prepare import prepare
    from biodist.cli.train import is_finished, refuse_other_core, refuse_small_disk
    from biodist.config.core import core_digest
    from biodist.config.loading import load_recipe
    from biodist.run.folder import RunFolder, run_root
    from biodist.run.lease import Lease

    recipe = load_recipe(name, overrides)
    root = root or run_root(recipe.name, core_digest(recipe))
    there = root.exists()
    folder = RunFolder.prepare(root, recipe.data.sensitive) if there else RunFolder(root.absolute())
    refuse_other_core(folder, recipe)
    if is_finished(folder):
        return folder, None
    wish = _Wish(name, overrides, on, nodes, nproc)
    prepared = prepare(name, overrides, nproc, "auto", wish.command(folder.root), on=on, nodes=nodes)
    plan = prepared.plan.model_copy(update={"rehearsal": rehearsal})
    refuse_small_disk(folder, plan)
    refuse_limits(plan)
    RunFolder.prepare(root, recipe.data.sensitive)
    try:
        with Lease.acquire(folder):
            refuse_living_job(folder)
            job_id = _submit(folder, prepared.recipe, plan, wish)
    except BiodistError:
        if not there:
            _remove_untouched(folder)
        raise
    return folder, (plan, job_id)


def refuse_limits(plan: Plan) -> None:
    """What the partition will not give is said before anything is written.

    Raises:
        UserError: there is no such partition, or it allows less time.
        MachineCannot: there is no Slurm here.
    """
    from launch.slurm.scheduler import Scheduler

    profile = plan.profile
    if profile is None or profile.partition is None:
        return
    scheduler = Scheduler()
    partition = scheduler.partition(profile.partition)
    where = f"profile {profile.name}"
    if partition is None:
        names = ", ".join(sorted(found.name for found in scheduler.partitions()))
        what = f"partition is {profile.partition!r}, which this cluster does not have"
        raise UserError(Problem(where, what, f"it has {names}"))
    limit = partition.max_time_min
    if limit is not None and profile.time_limit_min > limit:
        what = f"time_limit_min is {profile.time_limit_min}, but partition {partition.name} allows {limit}"
        raise UserError(Problem(where, what, f"set time_limit_min to {limit} or less: the run is requeued and goes on"))


def refuse_living_job(folder: RunFolder) -> None:
    """One job a run: a second one would wait for the first's lease, or lose its queue time. Raises MachineCannot."""
    from biodist.run.jobs import Submission
    from launch.slurm.scheduler import Scheduler

    for job in folder.jobs():
        if not job.submission.exists():
            continue
        for known in Submission.load(job.submission).jobs:
            state = Scheduler().job(known.job_id)
            if state is not None and not state.ended:
                raise MachineCannot(
                    f"{folder.root}: job {known.job_id} of this run is {state.state.lower()} already. See it with "
                    f"`biodist status {folder.root}`, or end it first with `biodist cancel {folder.root}`"
                )


def _submit(folder: RunFolder, recipe: Recipe, plan: Plan, wish: _Wish) -> str:
    from biodist.config.writing import recipe_yaml
    from biodist.run.durable import write_text

    job = folder.new_job()
    try:
        _write(job, plan, wish)
        job_id = _sbatch(job, plan)
    except BiodistError:
        _remove(job)
        raise
    if not folder.recipe.exists():
        write_text(folder.recipe, recipe_yaml(recipe))
    return job_id


def _write(job: JobFolder, plan: Plan, wish: _Wish) -> None:
    """All that the job needs is on disk before it is submitted."""
    from biodist.config.writing import profile_yaml
    from biodist.plan.plan import write_plan
    from biodist.run.durable import write_text
    from biodist.run.jobs import Submission

    assert plan.profile is not None
    write_plan(plan, job.plan)
    write_text(job.profile, profile_yaml(plan.profile))
    machine = plan.machine
    command = wish.command(job.run.root)
    Submission(profile=plan.profile.name, nodes=machine.nodes, world_size=machine.world_size, command=command).save(
        job.submission
    )


def _sbatch(job: JobFolder, plan: Plan) -> str:
    from biodist.cli.job import JobTask
    from launch.slurm.submission import submit as submit_job

    return submit_job(job, plan, JobTask(str(job.root)))


def _remove(job: JobFolder) -> None:
    from biodist.run.durable import remove_tree

    remove_tree(job.root)
    if not any(job.root.parent.iterdir()):
        job.root.parent.rmdir()


def _remove_untouched(folder: RunFolder) -> None:
    """A folder that this command made, and in which nothing was begun, is taken away again."""
    from biodist.run.durable import remove_tree

    if not folder.attempts() and not folder.jobs():
        remove_tree(folder.root)


def _say_submitted(folder: RunFolder, plan: Plan, job_id: str) -> None:
    from launch.slurm.grace import grace_notice

    machine, root = plan.machine, shlex.quote(str(folder.root))
    for notice in (*plan.notices, *grace_notice(folder, plan.profile)):
        err.print(f"note: {notice}", markup=False, soft_wrap=True)
    lines = {
        "run": str(folder.root),
        "job": f"{job_id} ({machine.nodes} × {machine.processes_per_node} processes, {plan.strategy})",
        "status": f"biodist status {root}",
        "logs": f"biodist logs {root} --follow",
        "cancel": f"biodist cancel {root}",
    }
    for name, value in lines.items():
        out.print(f"{name:<8}{value}", markup=False, soft_wrap=True)
