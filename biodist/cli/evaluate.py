"""``biodist evaluate``: scores a trained run again, from its exported weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biodist.cli.say import out
from biodist.errors import Problem, UserError

if TYPE_CHECKING:
    from biodist.run.folder import RunFolder


def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    split: Annotated[list[str] | None, typer.Option(help="validation or test; all that the run has.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, by run and split.")] = False,
) -> None:
    """Scores the weights in RUN/model on the run's own validation and test files."""
    from biodist.cli.table import render_scores
    from biodist.run.folder import RunFolder

    folders = [RunFolder(run.absolute()) for run in runs]
    if problems := [problem for folder in folders for problem in _problems(folder, split or [])]:
        raise UserError(problems)
    from biodist.training.scoring import score_run

    scores: dict[str, dict[str, Any]] = {}
    for run, folder in zip(runs, folders, strict=True):
        scores[str(run)] = score_run(folder, split or _splits(folder))
        if not as_json:
            for name, values in scores[str(run)].items():
                out.print(render_scores(values, f"{run}: {name}"))
    if as_json:
        out.print(json.dumps(scores, indent=2))


def _problems(folder: RunFolder, wanted: list[str]) -> list[Problem]:
    """What keeps a run from being scored, found without torch."""
    if not (folder.is_run() and folder.model.is_dir()):
        what = "holds no finished run (no model folder)"
        return [Problem(str(folder.root), what, "run `biodist train` on it to its end")]
    there = _splits(folder)
    do = f"this run has: {', '.join(there) or 'none'}"
    return [
        Problem(f"--split {split}", f"{folder.root} has no such split to score", do)
        for split in wanted
        if split not in there
    ]


def _splits(folder: RunFolder) -> list[str]:
    """The splits that a run has and that are scored."""
    from biodist.plan.plan import read_plan

    plan = read_plan(folder.attempts()[-1].plan)
    return [split for split in ("validation", "test") if split in plan.data.splits]
