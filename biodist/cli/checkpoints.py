"""``biodist checkpoints`` and ``biodist export``: what a run can go on from, and Hugging Face folders made of it."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from biodist.cli.say import out
from biodist.errors import Problem, RunFailed, SomeFailed, UserError

if TYPE_CHECKING:
    from biodist.run.folder import RunFolder


class Act(StrEnum):
    """What to do with a run's checkpoints."""

    LIST = "list"
    VERIFY = "verify"


def checkpoints(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    act: Annotated[
        Act, typer.Argument(help="list: by their manifests; verify: every byte against its digest.")
    ] = Act.LIST,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a checkpoint.")] = False,
) -> None:
    """Lists what a run can go on from, or proves it. Exit 5 when some do not verify, 3 when none does."""
    from rich.table import Table

    from biodist.checkpoint.reading import PREFIX, open_checkpoint, problems_of
    from biodist.cli.named_run import named_run

    folder = named_run(run)
    paths = sorted(folder.checkpoints.glob(f"{PREFIX}*")) if folder.checkpoints.is_dir() else []
    table = Table()
    for name in ("checkpoint", "processes", "strategy", "attempt", "MB", "state" if act is Act.VERIFY else "files"):
        table.add_column(name)
    damaged: dict[str, list[str]] = {}
    for path in paths:
        found = open_checkpoint(path)
        problems = problems_of(path) if act is Act.VERIFY or found is None else []
        if problems:
            damaged[path.name] = problems
        manifest = found.manifest if found else None
        if as_json:
            said = {"checkpoint": path.name, "step": manifest.step if manifest else None, "problems": problems}
            out.print(json.dumps(said | {"bytes": manifest.bytes if manifest else None}))
        elif manifest is None:
            table.add_row(path.name, "", "", "", "", "no readable MANIFEST.json")
        else:
            last = ("verified" if not problems else "damaged") if act is Act.VERIFY else str(len(manifest.files))
            size = f"{manifest.bytes / 1e6:,.1f}"
            table.add_row(path.name, str(manifest.world_size), manifest.strategy, str(manifest.attempt), size, last)
    if not as_json:
        out.print(table if paths else f"{run} has no checkpoint yet")
    if damaged:
        every = "; ".join(problem for problems in damaged.values() for problem in problems)
        kind = RunFailed if len(damaged) == len(paths) else SomeFailed
        raise kind(f"{len(damaged)} of {len(paths)} checkpoints of {run} do not verify: {every}")


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    folder: Annotated[Path, typer.Argument(help="New folder for config.json, model.safetensors and the tokenizer.")],
    step: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Step of a checkpoint; the best one of a finished run when not given."),
    ] = None,
) -> None:
    """Writes a Hugging Face folder: the weights of a finished run's best step, or of any checkpoint, in fp32."""
    from biodist.checkpoint.export import export as write
    from biodist.checkpoint.reading import open_checkpoint, problems_of
    from biodist.cli.named_run import named_run

    source = named_run(run)
    if folder.exists():
        raise UserError(Problem(str(folder), "is already there", "name a new folder, or remove it first"))
    step = step if step is not None else _best_step(source)
    checkpoint = open_checkpoint(source.checkpoint(step))
    if checkpoint is None:
        there = ", ".join(p.name for p in sorted(source.checkpoints.glob("step-*"))) or "none"
        raise UserError(Problem(str(run), f"has no checkpoint of step {step}", f"there are: {there}"))
    if problems := problems_of(checkpoint.folder):
        raise RunFailed(f"{run}: the checkpoint of step {step} does not verify: " + "; ".join(problems))
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    write(checkpoint, source.encoder, folder.absolute())
    out.print(f"step {step} of {run} -> {folder}")


def _best_step(run: RunFolder) -> int:
    from biodist.run.records import Result

    result = Result.load(run.result) if run.result.exists() else None
    if result is None or result.best_step is None:
        raise UserError(Problem(str(run.root), "is not finished, so it has no best step", "name one with --step"))
    return result.best_step
