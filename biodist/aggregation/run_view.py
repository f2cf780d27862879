"""What is known of one run, ours or foreign, and where to go on reading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field

from biodist.aggregation.series import Series
from biodist.errors import Problem
from biodist.run.records import AttemptRecord, Record, Result

Kind = Literal["biodist", "foreign"]
Status = Literal["new", "running", "finished", "stopped", "failed", "killed", "unknown"]
Scalar = str | int | float | bool
AttemptView = AttemptRecord
MarkerKind = Literal["restart", "preemption", "world size"]


@dataclass(frozen=True)
class RunPlace:
    """Where a run lies, and what it is called in every view: unique among the places found with it."""

    name: str
    folder: Path
    kind: Kind


@dataclass(frozen=True)
class Marker:
    """Something that happened to a run after `step`; `time` is UNIX seconds, 0 where it is not known."""

    step: int
    time: float
    kind: MarkerKind
    what: str  # for people: "attempt 2 went on from step 40, 2 processes instead of 4"


class FileMark(Record):
    """How far a file has been read, and how it was then: a file that was replaced is read anew."""

    name: str  # below the run's folder
    inode: int
    size: int
    changed_ns: int
    offset: int  # after the last whole record or line


class Cursor(Record):
    """Where to go on reading a run."""

    files: tuple[FileMark, ...] = ()
    last_steps: dict[str, int] = Field(default_factory=dict)  # by tag
    plugins: dict[str, str] = Field(default_factory=dict)  # of foreign tags: named in a tag's first record alone


@dataclass(frozen=True)
class RunView:
    """A run as its folder tells it.

    `settings` are scalars by dotted key of the recipe, or a foreign run's hyper-parameters. `series` by tag: those of
    docs/metrics.md, and `ranks/…` with what the ranks come to. `dropped` counts points that a restart overtook,
    `damaged` records that could not be read (the first of them in `problems`). `goes_on`: read from a cursor, so that
    `series` and `markers` hold only what is new, and follow what was read before.
    """

    name: str
    folder: Path
    kind: Kind
    settings: Mapping[str, Scalar]
    status: Status
    series: Mapping[str, Series]
    attempts: tuple[AttemptView, ...] = ()
    ranks: tuple[int, ...] = ()
    markers: tuple[Marker, ...] = ()
    result: Result | None = None
    problems: tuple[Problem, ...] = ()
    dropped: int = 0
    damaged: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    goes_on: bool = False

    @property
    def started(self) -> float | None:
        """UNIX seconds of its first point."""
        return min((float(one.times[0]) for one in self.series.values() if len(one)), default=None)

    @property
    def last_step(self) -> int:
        """0 where there is none."""
        return max((int(one.steps[-1]) for one in self.series.values() if len(one)), default=0)


def mark(folder: Path, path: Path, offset: int | None = None) -> FileMark:
    """How a file is now; read to its end, or to `offset`. Raises OSError."""
    stat = path.stat()
    read = stat.st_size if offset is None else offset
    name = str(path.relative_to(folder))
    return FileMark(name=name, inode=stat.st_ino, size=stat.st_size, changed_ns=stat.st_mtime_ns, offset=read)
