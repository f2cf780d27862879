"""``biodist evaluate``: scores a trained run again, from its exported weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from biodist.cli.say import out
from biodist.errors import Problem, UserError


def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    split: Annotated[list[str] | None, typer.Option(help="validation or test; all that the run has.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, by run and split.")] = False,
) -> None:
    """Scores the weights in RUN/model on the run's own validation and test files."""
    from biodist.cli.table import render_scores
    from biodist.run.folder import RunFolder

    folders = [RunFolder(run.absolute()) for run in runs]
    unfinished = [folder for folder in folders if not (folder.is_run() and folder.model.is_dir())]
    if unfinished:
        raise UserError(
            Problem(str(f.root), "holds no finished run (no model folder)", "run `biodist train` on it to its end")
            for f in unfinished
        )
    from biodist.training.scoring import score_run

    scores: dict[str, dict[str, Any]] = {}
    for run, folder in zip(runs, folders, strict=True):
        scores[str(run)] = score_run(folder, tuple(split or ()))
        if not as_json:
            for name, values in scores[str(run)].items():
                out.print(render_scores(values, f"{run}: {name}"))
    if as_json:
        out.print(json.dumps(scores, indent=2))
