"""When rank 0 of an attempt did what: of its events the few fields that the account of the time needs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

from biodist.errors import Problem, RunFailed
from biodist.run.durable import read_json_lines


class Moment(NamedTuple):
    """A line of events-rank-0.jsonl. ``step`` is 0 and ``name`` (of a phase) empty where the line has none."""

    time: float  # UNIX seconds
    kind: str
    step: int
    name: str


def moments(path: Path) -> list[Moment]:
    """All whole lines, in order; none without a file. Raises RunFailed where one is no event, naming it; OSError.

    Arrow reads them, an order of magnitude faster than line by line; what it refuses is read line by line.
    """
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")  # what follows the last newline was torn by a kill
    found = _with_arrow(whole) if whole else []
    if found is not None:
        return found
    return [_moment(path, number, line) for number, line in enumerate(read_json_lines(path), start=1)]


def _with_arrow(whole: bytes) -> list[Moment] | None:
    """None where a line is not plainly an event."""
    import pyarrow
    from pyarrow import json as arrow_json

    fields = {"time": pyarrow.float64(), "kind": pyarrow.string(), "step": pyarrow.int64(), "name": pyarrow.string()}
    parse = arrow_json.ParseOptions(pyarrow.schema(fields), unexpected_field_behavior="ignore")
    read = arrow_json.ReadOptions(use_threads=False, block_size=len(whole) + 1)
    try:
        table = arrow_json.read_json(io.BytesIO(whole), read, parse)
    except pyarrow.ArrowInvalid:
        return None
    if table.num_rows != whole.count(b"\n") + 1 or table["time"].null_count or table["kind"].null_count:
        return None
    times, kinds = table["time"].to_pylist(), table["kind"].to_pylist()
    steps, names = table["step"].fill_null(0).to_pylist(), table["name"].fill_null("").to_pylist()
    return list(map(Moment, times, kinds, steps, names))


def _moment(path: Path, number: int, line: Any) -> Moment:
    try:
        return Moment(float(line["time"]), str(line["kind"]), int(line.get("step") or 0), str(line.get("name") or ""))
    except (KeyError, TypeError, ValueError, AttributeError):
        problem = Problem(f"{path}:{number}", "the line is not a whole event", "restore the file from a copy")
        raise RunFailed(str(problem)) from None
