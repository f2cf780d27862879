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
    from biodist.config.recipe import Columns
    from biodist.data.check import CheckReport, TextCheckReport
    from biodist.data.repetition import Repeats
    from biodist.data.texts import TextFormat

data_app = typer.Typer(no_args_is_help=True)


@data_app.callback()
def _data() -> None:
    """Reads, validates and counts corpora."""


@data_app.command()
def check(
    file: Path = typer.Argument(..., help="The file to check."),
    format: Literal["iob", "iob2", "iobes", "conll", "jsonl", "tsv", "csv", "pubmedqa"] = typer.Option(
        "iob", help="How the file is written."
    ),
    task: Literal["nli", "classification"] | None = typer.Option(
        None, help="What texts are for: nli, or for pubmedqa classification, when absent."
    ),
    columns: str = typer.Option(
        "", help="Where texts and label stand: text=abstract,label=class (also second, id); the task's own when absent."
    ),
    labels: str = typer.Option("", help="Types or classes it may hold, with commas between; without it any."),
    multi_label: bool = typer.Option(False, "--multi-label", help="A sample has none, one or several classes."),
    repair: bool = typer.Option(
        False, "--repair", help="Mend broken tag sequences and count them, as data.repair does."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Counts a corpus file and lists everything wrong with it; exits 2 where it cannot be trained on."""
    from biodist.data.check import CheckReport, check_file, check_text_file
    from biodist.data.iob import Source
    from biodist.data.texts import TextSource

    declared = _declared(labels)
    report: CheckReport | TextCheckReport
    if format == "jsonl" or format == "tsv" or format == "csv" or format == "pubmedqa":
        chosen = task or ("classification" if format == "pubmedqa" else "nli")
        named = _columns(format, chosen, columns)
        many, unsure = multi_label, chosen == "nli"
        source = TextSource(file, format, named, declared=declared, multi_label=many, no_majority=unsure)
        report = check_text_file(source)
    else:
        report = check_file(Source(file, format, declared=declared, repair=repair))
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        out.print(_table(report) if isinstance(report, CheckReport) else _text_table(report))
        found = report.counts.mentions if isinstance(report, CheckReport) else report.counts.classes
        _remark(report.source.path, [name for name in declared or () if name not in found], report.repeats)
    if report.problems:
        raise UserError(report.problems)


def _declared(labels: str) -> tuple[str, ...] | None:
    declared = tuple(dict.fromkeys(kind.strip() for kind in labels.split(",") if kind.strip())) or None
    if labels and declared is None:
        raise UserError(
            Problem("--labels", f"names no type: {labels!r}", "give names with commas between: Disease,Gene")
        )
    return declared


def _columns(format: TextFormat, task: Literal["nli", "classification"], written: str) -> Columns:
    """The columns of a file by format and task, with those that ``--columns`` names in their place."""
    from biodist.config.recipe import Columns, CorpusEntry

    named: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in written.split(","))):
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if not equals or not name or role not in Columns.model_fields:
            known = ", ".join(f"{role}=NAME" for role in Columns.model_fields)
            raise UserError(Problem("--columns", f"{part!r} names no column", f"give some of {known}"))
        named[role] = name
    return CorpusEntry(path="-", format=format, columns=Columns(**named)).columns_for(task)


def _table(report: CheckReport) -> Table:
    counts, repeats = report.counts, report.repeats
    table = _titled(report.source.path)
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


def _text_table(report: TextCheckReport) -> Table:
    counts, repeats = report.counts, report.repeats
    table = _titled(report.source.path)
    table.add_row("pairs" if report.source.columns.second else "texts", f"{counts.samples:,}")
    for name, samples in counts.classes.items():
        table.add_row(Text(f"of class {name}"), f"{samples:,}")
    if report.source.no_majority:
        table.add_row("dropped, without a majority label", f"{counts.dropped:,}")
    if report.source.is_open and report.source.declared:
        table.add_row("MeSH terms passed over", f"{counts.undeclared:,}")
    for name, side in zip(report.source.text_columns, counts.lengths, strict=True):
        mean = side.words / max(counts.samples, 1)
        at = f", line {side.longest_line:,}" if side.longest_line else ""
        table.add_row(Text(f"words of {name}"), f"mean {mean:.1f}, longest {side.longest:,}{at}")
    table.add_row("empty texts", f"{counts.empty:,}")
    table.add_row("repeated", f"{repeats.repeated:,}")
    table.add_row("of them labelled otherwise", f"{repeats.contradictions:,}")
    return table


def _titled(path: Path) -> Table:
    table = Table(title=Text(str(path)), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    return table


def _remark(path: Path, absent: list[str], repeats: Repeats) -> None:
    """What is no error but should be known."""
    if absent:
        err.print(f"notice: {', '.join(absent)} never occurs")
    for first, other in repeats.lines:
        err.print(f"notice: {path}:{other}: the sample of line {first} again, labelled otherwise")
