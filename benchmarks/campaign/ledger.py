"""Rows of a campaign, on disk one by one, so that it can be stopped and goes on; tables and spreads of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from biodist.errors import EXIT_DONE, EXIT_SOME
from biodist.run.durable import JsonLines, read_json_lines

Row = dict[str, Any]


class Ledger:
    """Appends rows to a file, each durable at once. A row's ``case`` names what it is about."""

    def __init__(self, path: Path):
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def rows(self) -> list[Row]:
        return list(read_json_lines(self._path))

    def done(self) -> set[str]:
        """Cases that have a row."""
        return {row["case"] for row in self.rows()}

    def add(self, row: Row) -> None:
        with JsonLines(self._path) as lines:
            lines.append(row)
            lines.sync()


def conduct(ledger: Ledger, cases: Sequence[tuple[str, Callable[[], Row]]], limit: int | None, fine: str) -> int:
    """Goes through the first ``limit`` cases that have no row yet; gives the exit code for all of them: 5 when some row
    has problems. ``fine`` is what is said of a case without."""
    done = ledger.done()
    for name, act in cases[:limit]:
        if name in done:
            continue
        row = act()
        ledger.add(row)
        print(f"{row['seconds']:6.1f} s  {name}: {'; '.join(row['problems']) or fine}", flush=True)
    names = {name for name, _ in cases}
    return EXIT_SOME if any(row["problems"] for row in ledger.rows() if row["case"] in names) else EXIT_DONE


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def spread(values: Sequence[float]) -> str:
    """Mean and the sample's standard deviation; one value has none, and of none there is nothing to say."""
    if not values:
        return ""
    return f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
