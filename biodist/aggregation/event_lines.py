"""A rank's events (JSON lines) by column: steps and paces with Arrow's reader, the few other lines one by one.

The same numbers as `biodist.metrics.events.read_events` gives, bit for bit, some fifteen times as fast. A file that
Arrow will not read (a "nan", a damaged line) is read line by line.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from biodist.aggregation.series import Steps, Values

STEP_COLUMNS = ("loss", "learning_rate", "grad_norm", "tokens", "samples", "seconds")
PACE_COLUMNS = ("seconds", "forward_seconds", "waiting_seconds", "tokens", "peak_memory_bytes")
_COLUMNS = tuple(dict.fromkeys(("time", *STEP_COLUMNS, *PACE_COLUMNS)))


@dataclass(frozen=True, eq=False)
class Columns:
    """Lines of one kind: `steps` int64[n], `times` float64[n] (UNIX seconds), `lines` int64[n] (from 0, in the file),
    `values` float64[n] by name."""

    steps: Steps
    times: Values
    lines: Steps
    values: Mapping[str, Values]

    def chosen(self, rows: Any) -> Columns:
        """The rows of a mask or slice."""
        values = {name: column[rows] for name, column in self.values.items()}
        return Columns(self.steps[rows], self.times[rows], self.lines[rows], values)


class Score(NamedTuple):
    """An evaluation: its line (from 0), the step it is of, and its scores, which may nest; `time` is UNIX seconds."""

    line: int
    step: int
    split: str
    values: Mapping[str, Any]
    time: float


@dataclass(frozen=True)
class EventLines:
    """What a rank's file holds. `damaged`: lines, from 1; `offset`: after the last whole line."""

    steps: Columns
    paces: Columns
    scores: tuple[Score, ...]
    damaged: tuple[int, ...]
    offset: int


def read_event_lines(path: Path) -> EventLines:
    """Reads a rank's events; a torn last line is left for next time. Raises OSError."""
    data = path.read_bytes()
    offset = data.rfind(b"\n") + 1
    whole = data[:offset]
    try:
        kinds, columns = _with_arrow(whole)
    except ValueError:
        return _line_by_line(whole)
    steps, paces = np.flatnonzero(kinds == b"step"), np.flatnonzero(kinds == b"pace")
    scores = _scores(whole, np.flatnonzero(kinds == b"scalars"))
    if scores is None or _missing(columns, steps, STEP_COLUMNS) or _missing(columns, paces, PACE_COLUMNS):
        return _line_by_line(whole)
    return EventLines(
        _rows(columns, steps, STEP_COLUMNS), _rows(columns, paces, PACE_COLUMNS), tuple(scores), (), offset
    )


def _with_arrow(whole: bytes) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """`kind` of each line, and the columns. Raises ValueError where a line is not of this form."""
    import pyarrow
    from pyarrow import json as arrow_json

    if not whole:
        return np.empty(0, "S8"), {name: np.empty(0) for name in ("step", *_COLUMNS)}
    read, parse = _arrow_options(max(len(whole), 1))
    pool = pyarrow.system_memory_pool()  # the default one keeps some 15 MB a process for itself
    table = arrow_json.read_json(io.BytesIO(whole), read_options=read, parse_options=parse, memory_pool=pool)
    if table.num_rows != whole.count(b"\n"):
        raise ValueError("a line without an event")
    kinds = np.array(table["kind"].to_pylist(), dtype="S8")
    columns = {name: _column(table[name], np.nan) for name in _COLUMNS}
    columns["step"] = _column(table["step"], -1)
    return kinds, columns


def _column(chunks: Any, absent: float) -> np.ndarray:
    """The numbers of an Arrow column, ``absent`` where there is none.

    From its buffers: its own `to_numpy` and `fill_null` would load pandas, 40 MB and half a second a process.
    """
    values = chunks.combine_chunks()
    valid, numbers = values.buffers()
    here = slice(values.offset, values.offset + len(values))
    found = np.frombuffer(numbers, values.type.to_pandas_dtype())[here]
    if not values.null_count:
        return found
    return np.where(np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")[here], found, absent)


def _arrow_options(size: int) -> tuple[Any, Any]:
    from pyarrow import json as arrow_json

    read = arrow_json.ReadOptions(use_threads=False, block_size=size)
    return read, arrow_json.ParseOptions(explicit_schema=_schema(), unexpected_field_behavior="ignore")


@cache
def _schema() -> Any:
    import pyarrow

    numbers = [(name, pyarrow.float64()) for name in _COLUMNS]
    return pyarrow.schema([("kind", pyarrow.string()), ("step", pyarrow.int64()), *numbers])


def _missing(columns: dict[str, np.ndarray], rows: np.ndarray, names: tuple[str, ...]) -> bool:
    return bool((columns["step"][rows] < 0).any()) or any(np.isnan(columns[name][rows]).any() for name in names)


def _rows(columns: dict[str, np.ndarray], rows: np.ndarray, names: tuple[str, ...]) -> Columns:
    values = {name: columns[name][rows].astype(np.float64) for name in names}
    steps, times = columns["step"][rows].astype(np.int64), columns["time"][rows].astype(np.float64)
    return Columns(steps, times, rows.astype(np.int64), values)


def _scores(whole: bytes, rows: np.ndarray) -> list[Score] | None:
    if not len(rows):
        return []
    lines = whole.split(b"\n")
    try:
        return [_score(row, json.loads(lines[row])) for row in rows.tolist()]
    except (ValueError, KeyError, TypeError):
        return None


def _score(row: int, line: Mapping[str, Any]) -> Score:
    return Score(row, int(line["step"]), str(line["split"]), dict(line["values"]), float(line["time"]))


def _line_by_line(whole: bytes) -> EventLines:
    steps: list[tuple[int, Mapping[str, Any]]] = []
    paces: list[tuple[int, Mapping[str, Any]]] = []
    scores, damaged = [], []
    for row, line in _parsed(whole):
        try:
            match line["kind"]:
                case "step":
                    _numbers(line, STEP_COLUMNS)
                    steps.append((row, line))
                case "pace":
                    _numbers(line, PACE_COLUMNS)
                    paces.append((row, line))
                case "scalars":
                    scores.append(_score(row, line))
        except (ValueError, KeyError, TypeError):
            damaged.append(row + 1)
    return EventLines(
        _listed(steps, STEP_COLUMNS), _listed(paces, PACE_COLUMNS), tuple(scores), tuple(damaged), len(whole)
    )


def _parsed(whole: bytes) -> Iterator[tuple[int, Any]]:
    for row, text in enumerate(whole.split(b"\n")[:-1]):
        try:
            yield row, json.loads(text)
        except ValueError:
            yield row, None


def _numbers(line: Mapping[str, Any], names: tuple[str, ...]) -> list[float]:
    return [float(int(line["step"])), float(line["time"]), *(float(line[name]) for name in names)]


def _listed(found: list[tuple[int, Mapping[str, Any]]], names: tuple[str, ...]) -> Columns:
    numbers = np.array([_numbers(line, names) for _, line in found]).reshape(len(found), 2 + len(names))
    steps = np.array([int(line["step"]) for _, line in found], np.int64)
    lines = np.array([row for row, _ in found], np.int64)
    return Columns(steps, numbers[:, 1], lines, {name: numbers[:, 2 + place] for place, name in enumerate(names)})
