"""Every scalar of many runs as one table: CSV or Parquet, a row a point."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biodist.aggregation.runs import RunPlace, Scalar, read_run
from biodist.aggregation.series import Series
from biodist.errors import BiodistError, Problem, UserError
from biodist.run.durable import sync_folder, temporary_name

if TYPE_CHECKING:
    import pyarrow

FORMATS = (".csv", ".parquet")
COLUMNS = ("run", "tag", "step", "time", "value")
"""`time` in UNIX seconds; settings that are asked for follow, as columns of their own."""


@dataclass(frozen=True)
class Export:
    """What was written; `problems`: what was left out."""

    runs: int
    points: int
    problems: tuple[Problem, ...]


def check_target(path: Path) -> None:
    """Raises UserError when the name says no format, or its folder is not there."""
    problems = []
    if path.suffix not in FORMATS:
        what = f"the name must end in {' or '.join(FORMATS)}, but ends in {path.suffix or 'nothing'}"
        problems.append(Problem(f"--out {path}", what, "name the format by it"))
    if not path.absolute().parent.is_dir():
        problems.append(Problem(f"--out {path}", "its folder is not there", "make it first"))
    if problems:
        raise UserError(problems)


def export_scalars(places: Sequence[RunPlace], out: Path, settings: Sequence[str] = ()) -> Export:
    """Writes the points of every run to `out`, whole or not at all; one run is in memory at a time.

    `settings`: keys whose values become columns, as text. Raises UserError as `check_target`, OSError.
    """
    check_target(out)
    runs = points = 0
    problems: list[Problem] = []
    with _writer(out, settings) as write:
        for place in places:
            try:
                view = read_run(place)
            except (BiodistError, OSError) as error:
                problems.append(Problem(str(place.folder), str(error), "the run is left out"))
                continue
            problems += view.problems
            runs += 1
            points += sum(len(one) for one in view.series.values())
            write(_table(place.name, view.series, view.settings, settings))
    return Export(runs, points, tuple(problems))


def _schema(settings: Sequence[str]) -> pyarrow.Schema:
    import pyarrow

    word = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    kinds = (word, word, pyarrow.int64(), pyarrow.float64(), pyarrow.float64())
    return pyarrow.schema([*zip(COLUMNS, kinds, strict=True), *((key, word) for key in settings)])


def _table(
    name: str, series: Mapping[str, Series], own: Mapping[str, Scalar], settings: Sequence[str]
) -> pyarrow.Table:
    import pyarrow

    tags = sorted(series)
    ordered = [series[tag] for tag in tags]
    sizes = [len(one) for one in ordered]
    count = sum(sizes)
    columns = [
        _words([name], np.zeros(count, np.int32)),
        _words(tags, np.repeat(np.arange(len(tags), dtype=np.int32), sizes)),
        np.concatenate([one.steps for one in ordered]) if ordered else np.empty(0, np.int64),
        np.concatenate([one.times for one in ordered]) if ordered else np.empty(0),
        np.concatenate([one.values for one in ordered]) if ordered else np.empty(0),
        *(_words([str(own.get(key, ""))], np.zeros(count, np.int32), key in own) for key in settings),
    ]
    return pyarrow.Table.from_arrays(
        [pyarrow.array(c) if isinstance(c, np.ndarray) else c for c in columns], schema=_schema(settings)
    )


def _words(words: Sequence[str], places: np.ndarray, there: bool = True) -> pyarrow.DictionaryArray:
    """A column of words by their places; not `there`: nulls."""
    import pyarrow

    missing = None if there else np.ones(len(places), np.bool_)
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(places, mask=missing), pyarrow.array(words))


@contextmanager
def _writer(out: Path, settings: Sequence[str]) -> Iterator[Callable[[pyarrow.Table], None]]:
    """Writes tables one after another to a hidden file that takes the place of `out` at the end."""
    import pyarrow
    from pyarrow import csv, parquet

    hidden = out.with_name(temporary_name(out.name))
    schema = _schema(settings)
    try:
        if out.suffix == ".parquet":
            with parquet.ParquetWriter(hidden, schema, compression="zstd") as file:
                yield file.write_table
        else:
            # CSV knows no dictionaries.
            plain = pyarrow.schema(
                [(one.name, pyarrow.string() if pyarrow.types.is_dictionary(one.type) else one.type) for one in schema]
            )
            with csv.CSVWriter(hidden, plain) as file:
                yield lambda table: file.write(table.cast(plain))
        with hidden.open("rb") as written:
            os.fsync(written.fileno())
        hidden.replace(out)
        sync_folder(out.absolute().parent)
    finally:
        hidden.unlink(missing_ok=True)
