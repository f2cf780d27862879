"""What a person reads of a recipe's seeds: a table a split, and under it what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from biodist.metrics.seeds import ScoreSpread, SeedsSummary


def print_seeds(console: Console, summary: SeedsSummary, folder: Path) -> None:
    """Prints the scores over all labels; those of each type or class are in `seeds.json`."""
    overall = [score for score in summary.scores if score.label is None]
    for split in dict.fromkeys(score.split for score in overall):
        console.print(_table(summary, split, [score for score in overall if score.split == split]), crop=False)
    for line in _lines(summary, folder):
        console.print(line)


def named_seeds(seeds: Sequence[int]) -> str:
    """`42 to 46`, or each of them where some are left out between."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _table(summary: SeedsSummary, split: str, scores: Sequence[ScoreSpread]) -> Table:
    counted = summary.finished
    plural = "s" if len(counted) > 1 else ""
    title = f"{summary.name} on {split}: {len(counted)} seed{plural} ({named_seeds(counted)})"
    table = Table(title=title, title_justify="left")
    table.add_column("score")
    for column in ("mean ± sd", f"{summary.confidence:.0%} interval", "least to most", "n"):
        table.add_column(column, justify="right")
    for one in scores:
        values = one.values.values()
        table.add_row(Text(one.score), _mean(one), _interval(one), _between(min(values), max(values)), str(one.n))
    return table


def _mean(one: ScoreSpread) -> str:
    return f"{one.mean:.4f}" + ("" if one.deviation is None else f" ± {one.deviation:.4f}")


def _interval(one: ScoreSpread) -> str:
    return "" if one.low is None or one.high is None else _between(one.low, one.high)


def _between(low: float, high: float) -> str:
    return f"{low:.4f} to {high:.4f}"


def _lines(summary: SeedsSummary, folder: Path) -> Iterator[str]:
    if len(summary.finished) > 1:
        yield f"sd: {summary.deviation}; interval: {summary.interval}"
    elif summary.finished:
        yield "one seed has no standard deviation and no interval"
    left_out = [f"seed {run.seed} ({run.state})" for run in summary.runs if run.state != "finished"]
    if left_out:
        yield f"not counted: {', '.join(left_out)}"
    yield f"folder: {folder}"
