"""``biodist resume``: goes on with a run, here or on another number of processes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Optional

import typer

from biodist.errors import Problem, UserError


def resume(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[KEY=VALUE]...", help="Changes outside the core: distributed.strategy=zero3."),
    ] = None,
    nproc: Annotated[Optional[int], typer.Option(min=1, help="Processes; the number of GPUs, or 1.")] = None,  # noqa: UP045
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    on: Annotated[Optional[str], typer.Option(help="Profile of a cluster: goes on there.")] = None,  # noqa: UP045
    nodes: Annotated[Optional[int], typer.Option(min=1, help="With --on: nodes; the profile's.")] = None,  # noqa: UP045
) -> None:
    """Goes on from the newest checkpoint that verifies, with the recipe in the run's folder.

    Processes, strategy and micro-batch are decided anew; what identifies the run (its core) cannot change.
    """
    from biodist.cli.named_run import named_run
    from biodist.cli.submit import submit_recipe
    from biodist.cli.train import train_recipe

    folder = named_run(run)
    if not folder.recipe.exists():
        what = "holds no recipe.yaml: the run was never begun"
        raise UserError(Problem(str(run), what, "begin it: biodist train RECIPE --run " + shlex.quote(str(run))))
    if on is not None:
        raise typer.Exit(submit_recipe(str(folder.recipe), tuple(overrides or ()), folder.root, on, nodes, nproc))
    if nodes is not None:
        raise UserError(Problem("--nodes", "is for a cluster, and no profile is named", "add --on PROFILE"))
    raise typer.Exit(train_recipe(str(folder.recipe), tuple(overrides or ()), folder.root, nproc, device))
