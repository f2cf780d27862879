"""The rows of `elastic.py`, one a pair of layouts, and their table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from material import commit_label

from biodist.plan.plan import Strategy
from biodist.run.durable import JsonLines, read_json_lines
from biodist.run.provenance import Commit
from biodist.run.records import Record

STRATEGIES: tuple[Strategy, ...] = ("ddp", "zero1", "zero2", "zero3")
PROCESSES = (1, 2, 3)
CLOSE = 1e-4  # relative difference of losses that rounding may make


class Layout(Record):
    """How a state is cut."""

    strategy: Strategy
    processes: Literal[1, 2, 3]

    def __str__(self) -> str:
        return f"{self.strategy}x{self.processes}"


class Row(Record):
    """One pair."""

    commit: Commit
    saved: Layout
    loaded: Layout
    same_state: bool  # to the bit, on load
    same_samples: bool  # samples.jsonl
    losses: int  # compared
    loss_difference: float  # the largest, relative
    time: float  # UNIX seconds of the end

    @property
    def holds(self) -> bool:
        return self.same_state and self.same_samples and self.loss_difference <= CLOSE


Pair = tuple[Layout, Layout]


def layouts(processes: int | None = None) -> list[Layout]:
    """Every layout, or those of so many processes."""
    return [
        Layout(strategy=strategy, processes=number)  # type: ignore[arg-type]
        for number in PROCESSES
        if processes in (None, number)
        for strategy in STRATEGIES
    ]


def read_rows(path: Path, commit: Commit) -> dict[Pair, Row]:
    """The rows of one commit by their pair; none without a file."""
    rows = (Row.model_validate(line) for line in read_json_lines(path))
    return {(row.saved, row.loaded): row for row in rows if row.commit == commit}


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Adds rows, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with JsonLines(path) as lines:
        for row in rows:
            lines.append(row.model_dump(mode="json"))


def markdown(rows: Sequence[Row], saved_at: int, following: int, command: str) -> str:
    """A line a layout saved, a column a layout loaded."""
    return "\n".join([*_heading(rows, saved_at, following, command), "", *_table(rows)]) + "\n"


def _heading(rows: Sequence[Row], saved_at: int, following: int, command: str) -> Iterator[str]:
    states, samples = sum(row.same_state for row in rows), sum(row.same_samples for row in rows)
    close = sum(row.loss_difference <= CLOSE for row in rows)
    yield (
        f"{len(rows)} pairs, saved at step {saved_at}, {following} steps after; {commit_label(rows[0].commit)}. State "
        f"equal to the bit on load: {states}. `samples.jsonl` equal: {samples}. Losses within {CLOSE:.0e}: {close}; "
        f"the largest relative difference is {max(row.loss_difference for row in rows):.1e}. "
        f"Everything holds in {sum(row.holds for row in rows)} of {len(rows)}."
    )
    yield ""
    yield f"    {command}"
    yield ""
    yield "Saved under (lines), resumed under (columns): the largest relative difference of a loss."


def _table(rows: Sequence[Row]) -> Iterator[str]:
    known = {(row.saved, row.loaded): row for row in rows}
    columns = layouts()
    yield "| | " + " | ".join(_name(layout) for layout in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for saved in columns:
        yield f"| {_name(saved)} | " + " | ".join(_cell(known[saved, loaded]) for loaded in columns) + " |"


def _name(layout: Layout) -> str:
    return f"{layout.strategy} × {layout.processes}"


def _cell(row: Row) -> str:
    wrong = [what for what, same in (("state", row.same_state), ("samples", row.same_samples)) if not same]
    if row.loss_difference > CLOSE:
        wrong.append("losses")
    said = "0" if row.loss_difference == 0 else f"{row.loss_difference:.0e}"
    return f"**{', '.join(wrong)}** {said}" if wrong else said
