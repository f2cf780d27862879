"""The small table at the end of a run: what was reached, where it lies, the line that opens TensorBoard."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

Scores = Mapping[str, Any]

MOST_CONFUSED = 10  # classes of a confusion matrix that a terminal holds


@dataclass(frozen=True)
class _Parts:
    """Scores that come by part: the section that holds them, what a part is called, and what it counts."""

    section: str
    part: str
    counted: str
    columns: tuple[str, ...]


_PARTS = (
    _Parts("types", "type", "mentions", ("precision", "recall", "f1")),
    _Parts("classes", "class", "samples", ("precision", "recall", "f1", "accuracy")),
)


def render_result(
    result: Mapping[str, Any], run: Path, baselines: Mapping[str, Scores] | None = None
) -> RenderableType:
    """The table of a result.json (test scores, or validation's where test was not scored) and the lines under it.

    `baselines` are scores of other taggers on the same split, by name, shown below a rule. Printed elsewhere than by
    `print_result`, it wants `crop=False`.
    """
    scored = result.get("metrics") or {}
    split = next((name for name in ("test", "validation") if scored.get(name)), None)
    table = [render_scores(scored[split], f"scores on {split}", baselines)] if split else []
    return Group(*table, *_lines(result, run))


def print_result(
    console: Console, result: Mapping[str, Any], run: Path, baselines: Mapping[str, Scores] | None = None
) -> None:
    """Prints `render_result` with the lines under the table whole, however narrow the terminal."""
    console.print(render_result(result, run, baselines), crop=False)


def render_scores(scores: Scores, title: str = "", baselines: Mapping[str, Scores] | None = None) -> RenderableType:
    """Scores between 0 and 1: a row an entity type or class and one over all, what is not in it on a line below, and
    the confusion matrix of a few classes; of other tasks a row a score."""
    parts = next((parts for parts in _PARTS if parts.section in scores), None)
    if parts is None:
        return _plain_table(scores, title, baselines or {})
    table = _by_part(scores, title, baselines or {}, parts)
    if parts.section == "types":
        return table
    return Group(table, _others(scores, parts), *_confusion(scores))


def tensorboard_line(run: Path) -> str:
    """The command that opens a run's curves, quoted for a shell."""
    return shlex.join(["tensorboard", "--logdir", str(run / "tensorboard")])


def _by_part(scores: Scores, title: str, baselines: Mapping[str, Scores], parts: _Parts) -> Table:
    table = _table(title, parts.part, (*parts.columns, parts.counted))
    for name, own in scores[parts.section].items():
        table.add_row(Text(name), *_cells(own, parts.columns), str(own.get("support", "")))
    table.add_section()
    every = "all types" if parts.section == "types" else "all classes"
    counted = sum(own.get("support", 0) for own in scores[parts.section].values())
    table.add_row(every, *_cells(scores, parts.columns), str(counted), style="bold", end_section=bool(baselines))
    _add_corpora(table, scores, parts)
    for name, other in baselines.items():
        table.add_row(Text(name), *_cells(other, parts.columns), "")
    return table


def _add_corpora(table: Table, scores: Scores, parts: _Parts) -> None:
    """A row a corpus, each on the types it annotates, and the mean of their F1; below a rule."""
    corpora = scores.get("corpora", {})
    if not corpora:
        return
    table.add_section()
    for name, own in corpora.items():
        counted = sum(of_type.get("support", 0) for of_type in own.get("types", {}).values())
        table.add_row(Text(f"corpus {name}"), *_cells(own, parts.columns), str(counted))
    table.add_row("mean of the corpora", *_cells({"f1": scores.get("macro_f1")}, parts.columns), "", end_section=True)


def _others(scores: Scores, parts: _Parts) -> Text:
    """Scores over all that have no column."""
    shown = {*parts.columns, parts.section, "confusion"}
    return Text("  ".join(f"{name} {_number(value)}" for name, value in scores.items() if name not in shown))


def _confusion(scores: Scores) -> list[Table]:
    """The confusion matrix, where there is one and a terminal holds it."""
    names = list(scores["classes"])
    if "confusion" not in scores or len(names) > MOST_CONFUSED:
        return []
    table = _table("", "gold \\ predicted", names)
    for name, row in zip(names, scores["confusion"], strict=True):
        table.add_row(Text(name), *map(str, row))
    return [table]


def _plain_table(scores: Scores, title: str, baselines: Mapping[str, Scores]) -> Table:
    table = _table(title, "score", ("this run", *baselines))
    for name in scores:
        table.add_row(Text(name), *(_number(column.get(name)) for column in (scores, *baselines.values())))
    return table


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    table = Table(title=title or None, title_justify="left")
    table.add_column(first)
    for name in columns:
        table.add_column(Text(name), justify="right")
    return table


def _cells(scores: Scores, columns: Sequence[str]) -> list[str]:
    return [_number(scores.get(name)) for name in columns]


def _number(value: float | str | None) -> str:
    return "" if value is None else f"{float(value):.3f}"


def _lines(result: Mapping[str, Any], run: Path) -> list[Text]:
    facts = [f"{result['status']}, {result['steps']} steps"]
    if result.get("best_step") is not None:
        facts.append(f"best at step {result['best_step']}")
    if result.get("tokens_per_second"):
        facts.append(f"{float(result['tokens_per_second']):,.0f} tokens/s")
    lines = [f"run          {', '.join(facts)}", f"folder       {run}", f"TensorBoard  {tensorboard_line(run)}"]
    # Never folded: a broken line cannot be pasted.
    return [Text(line, no_wrap=True, overflow="ignore") for line in lines]
