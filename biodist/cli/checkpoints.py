"""``biodist export``: a trained run, or any step of one, as a folder that ``from_pretrained`` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from biodist.cli.say import out
from biodist.errors import Problem, RunFailed, UserError


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    folder: Annotated[Path, typer.Argument(help="New folder for config.json, model.safetensors and the tokenizer.")],
    step: Annotated[
        int | None, typer.Option(min=1, help="Step of a checkpoint; the best one of a finished run when not given.")
    ] = None,
) -> None:
    """Writes a Hugging Face folder: the weights of a finished run's best step, or of any checkpoint, in fp32."""
    from biodist.checkpoint.export import export as write
    from biodist.checkpoint.reading import open_checkpoint, problems_of
    from biodist.run.folder import RunFolder

    source = RunFolder(run.absolute())
    if not source.is_run():
        raise UserError(Problem(str(run), "is no run's folder", "name a folder that `biodist train` made"))
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


def _best_step(run: object) -> int:
    from biodist.run.folder import RunFolder
    from biodist.run.records import Result

    assert isinstance(run, RunFolder)
    result = Result.load(run.result) if run.result.exists() else None
    if result is None or result.best_step is None:
        raise UserError(Problem(str(run.root), "is not finished, so it has no best step", "name one with --step"))
    return result.best_step
