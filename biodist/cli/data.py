"""``biodist data``: what is in a corpus, before a job finds out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.table import Table
from rich.text import Text

from biodist.cli.say import err, out
from biodist.errors import Problem, UserError

if TYPE_CHECKING:
    from biodist.data.check import CheckReport

data_app = typer.Typer(no_args_is_help=True)


@data_app.callback()
def _data() -> None:
    """Reads, validates and counts corpora."""


@data_app.command()
def check(
    file: Path = typer.Argument(..., help="The file to check."),
    format: Literal["iob", "iob2", "iobes", "conll"] = typer.Option("iob", help="How the file is written."),
    labels: str = typer.Option("", help="Entity types it may hold, with commas between; without it any."),
    repair: bool = typer.Option(
        False, "--repair", help="Mend broken tag sequences and count them, as data.repair does."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Counts a corpus file and lists everything wrong with it; exits 2 where it cannot be trained on."""
    from biodist.data.check import check_file
    from biodist.data.iob import Source

    declared = tuple(dict.fromkeys(kind.strip() for kind in labels.split(",") if kind.strip())) or None
    if labels and declared is None:
        raise UserError(
            Problem("--labels", f"names no type: {labels!r}", "give names with commas between: Disease,Gene")
        )
    report = check_file(Source(file, format, declared=declared, repair=repair))
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        out.print(_table(report))
        _remark(report, declared or ())
    if report.problems:
        raise UserError(report.problems)


def _table(report: CheckReport) -> Table:
    counts, repeats = report.counts, report.repeats
    table = Table(title=Text(str(report.source.path)), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("documents", f"{counts.documents:,}")
    table.add_row("sentences", f"{counts.sentences:,}")
    table.add_row("tokens", f"{counts.tokens:,}")
    longest = f"{counts.longest:,} tokens"
    table.add_row("longest sentence", f"{longest}, line {counts.longest_line:,}" if counts.longest_line else longest)
    for kind, mentions in counts.mentions.items():
        table.add_row(Text(f"mentions of {kind}"), f"{mentions:,}")
    table.add_row("broken tag sequences", f"{counts.broken:,}" + (" (mended)" if counts.repaired else ""))
    table.add_row("repeated sentences", f"{repeats.repeated:,}")
    table.add_row("of them tagged otherwise", f"{repeats.contradictions:,}")
    return table


def _remark(report: CheckReport, declared: tuple[str, ...]) -> None:
    """What is no error but should be known."""
    absent = [kind for kind in declared if kind not in report.counts.mentions]
    if absent:
        err.print(f"notice: {', '.join(absent)} never occurs")
    for first, other in report.repeats.lines:
        err.print(f"notice: {report.source.path}:{other}: the sentence of line {first} again, tagged otherwise")
