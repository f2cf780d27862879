"""Tables of what is in corpora."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from biodist.cli.data import SplitWindows
    from biodist.data.check import AnyReport, CheckReport, DocumentCheckReport, TextCheckReport
    from biodist.data.leaks import Leak
    from biodist.data.statistics import TextStatistics, WordStatistics


def check_table(report: AnyReport) -> Table:
    """What `data check` found in one file."""
    from biodist.data.check import CheckReport, DocumentCheckReport

    if isinstance(report, DocumentCheckReport):
        return _documents(report)
    return _tagged(report) if isinstance(report, CheckReport) else _texts(report)


def _tagged(report: CheckReport) -> Table:
    counts, repeats = report.counts, report.repeats
    table = _titled(report.source.path)
    table.add_row("documents", f"{counts.documents:,}" + (f" ({counts.empty:,} empty)" if counts.empty else ""))
    table.add_row("sentences", f"{counts.sentences:,}")
    table.add_row("tokens", f"{counts.tokens:,}")
    table.add_row("longest sentence", _longest(counts.longest, "tokens", counts.longest_line))
    _labelled(table, "mentions of", counts.mentions)
    if counts.left_out:
        table.add_row("mentions renamed to O", f"{counts.left_out:,}")
    table.add_row("broken tag sequences", f"{counts.broken:,}" + (" (mended)" if counts.repaired else ""))
    table.add_row("repeated sentences", f"{repeats.repeated:,}")
    table.add_row("of them tagged otherwise", f"{repeats.contradictions:,}")
    return table


def _documents(report: DocumentCheckReport) -> Table:
    counts, made = report.counts, report.sentences
    table = _titled(report.source.path)
    table.add_row("documents", f"{counts.documents:,}" + (f" ({counts.empty:,} empty)" if counts.empty else ""))
    table.add_row("characters", f"{counts.characters:,}")
    table.add_row("longest document", _longest(counts.longest, "characters", counts.longest_line))
    table.add_row("mentions found", f"{counts.found:,}")
    _labelled(table, "mentions of", counts.mentions)
    counted = {
        "overlap another": counts.overlapping,
        "are discontinuous": counts.discontinuous,
        "stretched over their gaps": counts.stretched,
        "left out: overlapping": counts.dropped_overlapping,
        "left out: discontinuous": counts.dropped_discontinuous,
        "left out: renamed to O": counts.left_out,
        "repeated (same place and type)": counts.repeated,
        "with problems": counts.faulty,
        **{f"passed over: {kind}": number for kind, number in counts.passed_over.items()},
    }
    for name, number in counted.items():
        if number:
            table.add_row(name, f"{number:,}")
    table.add_row("sentences", f"{made.sentences:,}")
    table.add_row("tokens", f"{made.tokens:,}")
    table.add_row("longest sentence", _longest(made.longest, "tokens", made.longest_line))
    table.add_row("sentence ends inside a mention", f"{made.joined:,}")
    table.add_row("words cut at a mention's end", f"{made.split_words:,}")
    table.add_row("mentions without a word", f"{made.wordless:,}")
    table.add_row("repeated sentences", f"{report.repeats.repeated:,}")
    table.add_row("of them labelled otherwise", f"{report.repeats.contradictions:,}")
    return table


def _texts(report: TextCheckReport) -> Table:
    counts, repeats = report.counts, report.repeats
    table = _titled(report.source.path)
    table.add_row("pairs" if report.source.columns.second else "texts", f"{counts.samples:,}")
    _labelled(table, "of class", counts.classes)
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


def leak_table(leaks: Sequence[Leak]) -> Table:
    """What two files have in common."""
    table = Table(title="in two files", title_justify="left")
    for name in ("file", "other file"):
        table.add_column(name)
    for name in ("in both", "times", "times", "documents"):
        table.add_column(name, justify="right")
    for leak in leaks:
        numbers = (leak.sentences, *leak.occurrences, leak.documents)
        table.add_row(*map(Text, leak.files), *(f"{number:,}" for number in numbers))
    return table


def window_table(windows: Mapping[str, SplitWindows], max_length: int) -> Table:
    """What `data.max_length` does to each split."""
    table = Table(title=f"windows of {max_length} tokens", title_justify="left")
    table.add_column("split")
    for name in ("samples", "in several windows", "cut", "windows", "tokens", "longest window"):
        table.add_column(name, justify="right")
    for split, each in windows.items():
        share = f"{each.several:,} ({100 * each.several / max(each.samples, 1):.1f} %)"
        numbers = (each.truncated, each.windows, each.tokens, each.longest)
        table.add_row(split, f"{each.samples:,}", share, *(f"{number:,}" for number in numbers))
    return table


def statistics_tables(one: WordStatistics | TextStatistics) -> list[Table]:
    """The size of a file, its labels, and what the baselines get."""
    from biodist.data.statistics import WordStatistics

    size = _titled(Path(one.path))
    words = isinstance(one, WordStatistics)
    if isinstance(one, WordStatistics):
        size.add_row("sentences", f"{one.sentences:,}")
        size.add_row("tokens", f"{one.tokens:,}")
        size.add_row("of them in a mention", f"{100 * one.inside:.1f} %")
    else:
        size.add_row("samples", f"{one.samples:,}")
    if one.lengths:
        told = ", ".join(f"{name} {value:,.1f}".removesuffix(".0") for name, value in one.lengths.items())
        size.add_row("words of a " + ("sentence" if words else "sample"), told)
    if isinstance(one, WordStatistics):
        return [size, _types(one), *_baselines(one)]
    total = max(one.samples, 1)
    for name, number in one.classes.items():
        size.add_row(Text(f"of class {name}"), f"{number:,} ({100 * number / total:.1f} %)")
    if one.majority is not None:
        size.add_row("accuracy of training's commonest label", f"{one.majority:.3f}")
    return [size]


def _types(one: WordStatistics) -> Table:
    table = Table()
    table.add_column("type")
    for name in ("mentions", "share", "different names", "not in training"):
        table.add_column(name, justify="right")
    total = sum(each.mentions for each in one.types.values())
    for kind, each in one.types.items():
        unseen = "" if each.unseen is None else f"{100 * each.unseen:.1f} %"
        share = f"{100 * each.mentions / total:.1f} %"
        table.add_row(Text(kind), f"{each.mentions:,}", share, f"{each.names:,}", unseen)
    return table


def _baselines(one: WordStatistics) -> list[Table]:
    if not one.baselines:
        return []
    table = Table()
    table.add_column("baseline")
    for name in ("precision", "recall", "f1"):
        table.add_column(name, justify="right")
    for each in one.baselines:
        table.add_row(each.name, *(f"{value:.3f}" for value in (each.precision, each.recall, each.f1)))
    return [table]


def _titled(path: Path) -> Table:
    table = Table(title=Text(str(path)), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    return table


def _longest(number: int, unit: str, line: int) -> str:
    return f"{number:,} {unit}, line {line:,}" if line else f"{number:,} {unit}"


def _labelled(table: Table, what: str, labelled: Mapping[str, int]) -> None:
    for name, number in labelled.items():
        table.add_row(Text(f"{what} {name}"), f"{number:,}")
