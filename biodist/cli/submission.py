"""From recipes to jobs: prepared without writing anything, then written and submitted, all or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from biodist.errors import BiodistError, MachineCannot, Problem, UserError

if TYPE_CHECKING:
    from biodist.config.recipe import Recipe
    from biodist.plan.plan import Plan, Rehearsal
    from biodist.run.folder import JobFolder, RunFolder
    from launch.slurm.partition import Partition


@dataclass(frozen=True)
class Wish:
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


@dataclass(frozen=True)
class Candidate:
    """One recipe, all decided, nothing written."""

    wish: Wish
    folder: RunFolder
    is_new: bool  # its folder is not there yet
    recipe: Recipe
    plan: Plan


def candidate(wish: Wish, root: Path | None, rehearsal: Rehearsal | None = None) -> Candidate | RunFolder:
    """What would be submitted, or the folder of a run that is finished.

    Raises:
        UserError: recipe, profile or corpora are wrong, or the run began with another recipe.
        MachineCannot: it does not fit, or the disk is too small.
    """
    from biodist.cli.prepare import prepare
    from biodist.cli.train import refuse_small_disk
    from biodist.config.core import core_digest, refuse_other_core
    from biodist.config.loading import load_recipe
    from biodist.run.folder import RunFolder, run_root
    from biodist.run.records import is_finished

    recipe = load_recipe(wish.recipe, wish.overrides)
    root = root or run_root(recipe.name, core_digest(recipe))
    if "%" in str(root.absolute()) or "\n" in str(root):
        what = "holds a percent sign or a line break, which Slurm reads as something else"
        raise UserError(Problem(f"run folder {root}", what, "name another folder with --run"))
    is_new = not root.exists()
    folder = RunFolder(root.absolute()) if is_new else RunFolder.prepare(root, recipe.data.sensitive)
    refuse_other_core(folder, recipe)
    if is_finished(folder):
        return folder
    prepared = prepare(
        wish.recipe, wish.overrides, wish.nproc, "auto", wish.command(folder.root), on=wish.on, nodes=wish.nodes
    )
    plan = prepared.plan.model_copy(update={"rehearsal": rehearsal})
    refuse_small_disk(folder, plan)
    return Candidate(wish, folder, is_new, prepared.recipe, plan)


def submit_candidates(candidates: Sequence[Candidate]) -> list[str]:
    """Submits one job, or one array of several; gives the jobs' numbers. All ask for the same nodes of one profile.

    When Slurm refuses, or another command submits one of these runs, nothing is left behind. Raises UserError,
    MachineCannot.
    """
    refuse_limits(candidates[0].plan)
    opened: list[JobFolder] = []
    with ExitStack() as held:
        for one in candidates:
            held.enter_context(_held(one))
            refuse_living_job(one.folder)
            opened.append(one.folder.new_job())
            held.push(partial(_remove_refused, opened[-1]))
            _write(opened[-1], one.plan, one.wish)
        ids = _sbatch(opened, [one.plan for one in candidates])
        for one in candidates:
            _keep_recipe(one)
    return ids


@contextmanager
def _held(one: Candidate) -> Iterator[None]:
    """The run is this command's alone. One that it made is taken away again when an error ends it, while nobody else
    can have begun anything in it."""
    from biodist.run.folder import RunFolder
    from biodist.run.lease import Lease, RunHeld

    root = one.folder.root
    RunFolder.prepare(root, one.recipe.data.sensitive)
    try:
        lease = Lease.acquire(one.folder)
    except RunHeld:
        refuse_living_job(one.folder)  # which says more, where it is a job that writes
        raise
    except MachineCannot:
        if one.is_new:
            _remove_untouched(one.folder)
        raise
    except FileNotFoundError:
        raise MachineCannot(f"{root}: another command made this run and took it away again; try once more") from None
    with lease:
        try:
            yield
        except BiodistError:
            if one.is_new:
                with lease.fence().hold():
                    _remove_untouched(one.folder)
            raise


def refuse_limits(plan: Plan) -> None:
    """What the partition will not give is said before anything is written.

    Raises:
        UserError: there is no such partition, or it allows less time.
        MachineCannot: there is no Slurm here.
    """
    from launch.slurm.scheduler import Scheduler

    profile = plan.profile
    if profile is None:
        return
    scheduler = Scheduler()
    every = scheduler.partitions()
    wanted = profile.partition.split(",") if profile.partition else [found.name for found in every if found.is_default]
    problems = []
    for name in wanted:
        found = next((found for found in every if found.name == name), None)
        problems += _beyond(found, plan, name) if found else [_no_partition(profile.name, name, every)]
    if problems:
        raise UserError(problems)


def _no_partition(profile: str, name: str, every: Sequence[Partition]) -> Problem:
    what = f"partition is {name!r}, which this cluster does not have"
    return Problem(f"profile {profile}", what, "it has " + ", ".join(sorted(found.name for found in every)))


def _beyond(partition: Partition, plan: Plan, name: str) -> list[Problem]:
    """What the plan asks of a partition beyond its limits."""
    profile, nodes = plan.profile, plan.machine.nodes
    assert profile is not None
    where, problems = f"profile {profile.name}", []
    if partition.max_time_min is not None and profile.time_limit_min > partition.max_time_min:
        what = f"time_limit_min is {profile.time_limit_min}, but partition {name} allows {partition.max_time_min}"
        do = f"set time_limit_min to {partition.max_time_min} or less: the run is requeued and goes on"
        problems.append(Problem(where, what, do))
    most = min(partition.max_nodes or partition.node_count, partition.node_count)
    if nodes > most:
        what = f"{nodes} nodes are asked for, but partition {name} gives a job {most}"
        problems.append(Problem(where, what, f"use --nodes {most} or less"))
    return problems


def refuse_living_job(folder: RunFolder) -> None:
    """One job a run: a second one would wait for the first's lease, or lose its queue time. Raises MachineCannot."""
    from biodist.run.jobs import Submission
    from launch.slurm.scheduler import Scheduler

    submissions = [Submission.load(job.submission) for job in folder.jobs() if job.submission.exists()]
    known = [job.job_id for submission in submissions for job in submission.jobs]
    for state in Scheduler().jobs(known).values():
        if not state.ended:
            raise MachineCannot(
                f"{folder.root}: job {state.job_id} of this run is {state.state.lower()} already. See it with "
                f"`biodist status {folder.root}`, or end it first with `biodist cancel {folder.root}`"
            )


def _keep_recipe(one: Candidate) -> None:
    from biodist.config.writing import recipe_yaml
    from biodist.run.durable import write_text

    if not one.folder.recipe.exists():
        write_text(one.folder.recipe, recipe_yaml(one.recipe))


def _write(job: JobFolder, plan: Plan, wish: Wish) -> None:
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


def _sbatch(jobs: Sequence[JobFolder], plans: Sequence[Plan]) -> list[str]:
    from biodist.cli.job import JobTask
    from launch.slurm.array import submit_array
    from launch.slurm.submission import submit

    tasks = [JobTask(str(job.root)) for job in jobs]
    return submit_array(jobs, plans, tasks) if len(jobs) > 1 else [submit(jobs[0], plans[0], tasks[0])]


def _remove_refused(
    job: JobFolder, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
) -> None:
    """What was written for a job that came to nothing."""
    from biodist.run.durable import remove_tree

    if not isinstance(error, BiodistError):
        return
    remove_tree(job.root)
    if not any(job.root.parent.iterdir()):
        job.root.parent.rmdir()


def _remove_untouched(folder: RunFolder) -> None:
    """A folder that this command made, and in which nothing was begun, is taken away again."""
    from biodist.run.durable import remove_tree

    if folder.root.exists() and not folder.attempts() and not folder.jobs():
        remove_tree(folder.root)
