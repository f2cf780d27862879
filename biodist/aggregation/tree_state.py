"""What a tree remembers of itself, and what a call did to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from biodist.aggregation.run_board import BoardFile
from biodist.aggregation.run_view import Cursor, RunPlace, RunView, Scalar, Status
from biodist.errors import Problem
from biodist.run.records import Record


class RunEntry(Record):
    """A run in the tree. `file`: None where it could not be read."""

    name: str
    folder: Path
    kind: Literal["biodist", "foreign"]
    cursor: Cursor = Field(default_factory=Cursor)
    file: BoardFile | None = None
    settings: dict[str, Scalar] = Field(default_factory=dict)
    status: Status = "unknown"
    started: float | None = None  # UNIX seconds of its first point
    attempts: int = 0
    points: dict[str, int] = Field(default_factory=dict)  # by tag
    dropped: int = 0
    damaged: int = 0
    problems: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def of(cls, place: RunPlace, view: RunView, file: BoardFile) -> RunEntry:
        """A run that was read, and the file it was written to."""
        return cls(
            name=place.name,
            folder=place.folder,
            kind=place.kind,
            cursor=view.cursor,
            file=file,
            settings=dict(view.settings),
            status=view.status,
            started=view.started,
            attempts=len(view.attempts),
            points={tag: len(one) for tag, one in view.series.items()},
            dropped=view.dropped,
            damaged=view.damaged,
            problems=tuple((one.where, one.what, one.do) for one in view.problems),
        )

    @property
    def place(self) -> RunPlace:
        return RunPlace(self.name, self.folder, self.kind)

    def grown(self, new: RunEntry) -> RunEntry:
        """This one, and what a view that goes on from its cursor adds."""
        tags = dict.fromkeys([*self.points, *new.points])
        return new.model_copy(
            update={
                "settings": self.settings | new.settings,
                "started": self.started,
                "points": {tag: self.points.get(tag, 0) + new.points.get(tag, 0) for tag in tags},
                "dropped": self.dropped + new.dropped,
                "damaged": self.damaged + new.damaged,
                "problems": self.problems + new.problems,
            }
        )


class GroupEntry(Record):
    """A group in the tree: `made_of` are its members' files as they were."""

    label: str
    made_of: dict[str, BoardFile]
    files: dict[str, BoardFile]  # by statistic


class TreeState(Record):
    """What the state file holds."""

    version: Literal[1] = 1
    runs: dict[str, RunEntry] = Field(default_factory=dict)
    groups: dict[str, GroupEntry] = Field(default_factory=dict)
    page: BoardFile | None = None  # of the HParams page
    page_of: str = ""


@dataclass(frozen=True)
class Update:
    """What a call did, in counts of runs; `damaged` records and `dropped` points are of all runs in the tree."""

    runs: int
    written: int
    grown: int
    unchanged: int
    removed: int
    groups: int
    unreadable: int
    damaged: int
    dropped: int
    problems: tuple[Problem, ...]

    @classmethod
    def of(
        cls, before: Mapping[str, RunEntry | None], after: Mapping[str, RunEntry], removed: int, groups: int
    ) -> Update:
        """The difference between two states of a tree."""
        files = [(old.file if (old := before.get(name)) else None, entry.file) for name, entry in after.items()]
        same = sum(new is not None and old == new for old, new in files)
        grown = sum(old is not None and new is not None and old.name == new.name and old != new for old, new in files)
        unreadable = sum(new is None for _, new in files)
        return cls(
            runs=len(after),
            written=len(files) - same - grown - unreadable,
            grown=grown,
            unchanged=same,
            removed=removed,
            groups=groups,
            unreadable=unreadable,
            damaged=sum(entry.damaged for entry in after.values()),
            dropped=sum(entry.dropped for entry in after.values()),
            problems=tuple(Problem(*problem) for entry in after.values() for problem in entry.problems),
        )
