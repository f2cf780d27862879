"""``biodist export-scalars``: every scalar of many runs as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from biodist.cli.say import err, out
from biodist.errors import RunFailed

_SHOWN = 20  # problems that are printed


def export_scalars(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Runs, or folders with runs below them.")],
    to: Annotated[Path, typer.Option("--out", metavar="FILE", help="The table: a name that ends in .csv or .parquet.")],
    columns: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--with", metavar="KEY", help="A setting as a column of its own (train.seed); repeat."),
    ] = None,
) -> None:
    """Writes every scalar of the runs below PATH as a table: run, tag, step, time (UNIX seconds), value.

    Restarts are stitched as `biodist tensorboard` does. Exit 3 when no run can be read.
    """
    from biodist.aggregation.exports import check_target
    from biodist.aggregation.exports import export_scalars as export
    from biodist.aggregation.runs import find_runs

    check_target(to)
    places = find_runs(paths)
    done = export(places, to, tuple(columns or ()))
    for problem in done.problems[:_SHOWN]:
        err.print(f"passed over: {problem}")
    if len(done.problems) > _SHOWN:
        err.print(f"passed over: {len(done.problems) - _SHOWN:,} more like these")
    if not done.runs:
        raise RunFailed("no run can be read; the table is empty")
    out.print(f"{done.points:,} points of {done.runs:,} runs in {to}")
