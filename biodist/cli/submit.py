"""``biodist submit``: the same recipe, on a cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from biodist.cli.say import err, out
from biodist.errors import EXIT_DONE, Problem, UserError

if TYPE_CHECKING:
    from biodist.cli.submission import Candidate
    from biodist.plan.plan import Plan, Rehearsal
    from biodist.run.folder import RunFolder


def submit(
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE... [KEY=VALUE]...", help="Recipes (several become one array), and changes to all of them."
        ),
    ],
    on: Annotated[str, typer.Option(help="Profile: a name that `biodist profiles` lists, or a YAML file.")] = "",
    run: Annotated[Optional[Path], typer.Option(help="Run folder; runs/<name>-<core> when not given.")] = None,  # noqa: UP045
    nodes: Annotated[Optional[int], typer.Option(min=1, help="Nodes; the profile's when not given.")] = None,  # noqa: UP045
    nproc: Annotated[Optional[int], typer.Option(min=1, help="Processes on a node; the profile's.")] = None,  # noqa: UP045
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="A few steps, killed and resumed; then a verdict.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="With --rehearse: keep its two runs.")] = False,
    seeds: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="One array of so many seeds, from train.seed on; --run is then their folder."),
    ] = None,
) -> None:
    """Submits recipes to a Slurm cluster. A job is requeued when it is preempted, and goes on where it was saved."""
    from biodist.cli.rehearse import refuse_keep, rehearse_on_cluster
    from biodist.cli.seeds import refuse_rehearsal, submit_seeds
    from biodist.cli.submission import Wish

    if not on:
        raise UserError(Problem("--on", "names no profile", "`biodist profiles` lists them; or use `biodist train`"))
    names = [word for word in recipes if "=" not in word or Path(word).is_file()]
    overrides = tuple(word for word in recipes if word not in names)
    if not names:
        raise UserError(Problem("biodist submit", "names no recipe", "`biodist recipes` lists those that come along"))
    for_one = {"--rehearse": rehearse, "--run": run is not None, "--seeds": seeds is not None}
    if len(names) > 1 and any(for_one.values()):
        option = next(option for option, given in for_one.items() if given)
        raise UserError(Problem(option, f"is for one recipe, but {len(names)} are named", "name one"))
    if rehearse:
        refuse_rehearsal(seeds)
        raise typer.Exit(rehearse_on_cluster(names[0], overrides, run, on, nodes, nproc, keep))
    refuse_keep(keep)
    if seeds is not None:
        raise typer.Exit(submit_seeds(Wish(names[0], overrides, on, nodes, nproc), run, seeds))
    if len(names) > 1:
        raise typer.Exit(submit_recipes(names, overrides, on, nodes, nproc))
    raise typer.Exit(submit_recipe(names[0], overrides, run, on, nodes, nproc))


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
    from biodist.cli.submission import Candidate, Wish, candidate, submit_candidates

    found = candidate(Wish(name, overrides, on, nodes, nproc), root, rehearsal)
    if not isinstance(found, Candidate):
        return found, None
    [job_id] = submit_candidates([found])
    return found.folder, (found.plan, job_id)


def submit_recipes(names: list[str], overrides: tuple[str, ...], on: str, nodes: int | None, nproc: int | None) -> int:
    """Several recipes as one array. Those that are finished already are left out, aloud."""
    from biodist.cli.submission import Candidate, Wish, candidate, submit_candidates

    candidates: list[Candidate] = []
    problems: list[Problem] = []
    for name in names:
        try:
            found = candidate(Wish(name, overrides, on, nodes, nproc), None)
        except UserError as error:
            problems += error.problems
            continue
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            err.print(f"{found.root}: finished, left out", markup=False, soft_wrap=True)
    problems += _same_folders(candidates)
    if problems:
        raise UserError(dict.fromkeys(problems))
    if not candidates:
        return EXIT_DONE
    for one, job_id in zip(candidates, submit_candidates(candidates), strict=True):
        _say_submitted(one.folder, one.plan, job_id)
    return EXIT_DONE


def _same_folders(candidates: list[Candidate]) -> list[Problem]:
    roots = [one.folder.root for one in candidates]
    twice = {root for root in roots if roots.count(root) > 1}
    return [Problem(str(root), "is the run of two of these recipes", "name each run once") for root in sorted(twice)]


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
