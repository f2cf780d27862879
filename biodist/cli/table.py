"""The small table at the end of a run: what was reached, where it lies, the line that opens TensorBoard."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

Scores = Mapping[str, Any]

_ENTITY_COLUMNS = ("precision", "recall", "f1")


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


def render_scores(scores: Scores, title: str = "", baselines: Mapping[str, Scores] | None = None) -> Table:
    """Scores between 0 and 1: of entities a row a type and one over all; of other tasks a row a score."""
    if "types" not in scores:
        return _plain_table(scores, title, baselines or {})
    table = _table(title, "type", (*_ENTITY_COLUMNS, "mentions"))
    for name, of_type in scores["types"].items():
        table.add_row(Text(name), *_cells(of_type), str(of_type.get("support", "")))
    table.add_section()
    mentions = sum(of_type.get("support", 0) for of_type in scores["types"].values())
    table.add_row("all types", *_cells(scores), str(mentions), style="bold", end_section=bool(baselines))
    for name, other in (baselines or {}).items():
        table.add_row(Text(name), *_cells(other), "")
    return table


def tensorboard_line(run: Path) -> str:
    """The command that opens a run's curves, quoted for a shell."""
    return shlex.join(["tensorboard", "--logdir", str(run / "tensorboard")])


def _plain_table(scores: Scores, title: str, baselines: Mapping[str, Scores]) -> Table:
    table = _table(title, "score", ("this run", *baselines))
    for name in scores:
        table.add_row(Text(name), *(_number(column.get(name)) for column in (scores, *baselines.values())))
    return table


def _table(title: str, first: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title or None, title_justify="left")
    table.add_column(first)
    for name in columns:
        table.add_column(Text(name), justify="right")
    return table


def _cells(scores: Scores) -> list[str]:
    return [_number(scores.get(name)) for name in _ENTITY_COLUMNS]


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
