"""Runs below the folders that a person names, ours and foreign, and what each of them tells."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from biodist.aggregation.foreign_run import EVENTS, event_files, read_foreign
from biodist.aggregation.own_run import read_own, unchanged
from biodist.aggregation.run_view import (
    AttemptView,
    Cursor,
    FileMark,
    Marker,
    RunPlace,
    RunView,
    Scalar,
    Status,
    mark,
)
from biodist.errors import Problem, UserError
from biodist.run.folder import RunFolder

__all__ = [
    "TREE_STATE",
    "AttemptView",
    "Cursor",
    "FileMark",
    "Marker",
    "RunPlace",
    "RunView",
    "Scalar",
    "Status",
    "find_runs",
    "is_unchanged",
    "read_run",
]

TREE_STATE = "biodist-tree.json"
"""In a folder that `biodist tensorboard` wrote: what is below it is made of runs, and is none."""


def find_runs(paths: Sequence[Path]) -> list[RunPlace]:
    """The runs below `paths`, by path, named by where they lie below it; a run of ours holds no others.

    Raises UserError that lists every path that is missing, cannot be read or holds no run.
    """
    problems: list[Problem] = []
    found: list[tuple[Path, RunPlace]] = []
    for path in dict.fromkeys(paths):
        try:
            below = [place for root, place in _below(path)]
        except OSError as error:
            problems.append(Problem(str(path), f"cannot be read: {error.strerror}", "name a folder with runs in it"))
            continue
        if not below:
            what = "holds no run and no event file"
            problems.append(Problem(str(path), what, "name a run's folder, or one with runs below it"))
        found += [(path, place) for place in below]
    if problems:
        raise UserError(problems)
    return _named(found, several=len(set(paths)) > 1)


def read_run(place: RunPlace, cursor: Cursor | None = None) -> RunView:
    """What the run's folder tells; of a foreign run with a `cursor` only what is new, where that follows on.

    Raises RunFailed when nothing of the run can be read, OSError.
    """
    return read_own(place) if place.kind == "biodist" else read_foreign(place, cursor)


def is_unchanged(place: RunPlace, cursor: Cursor) -> bool:
    """Whether nothing was written since the run was read up to `cursor`. Raises OSError."""
    if place.kind == "biodist":
        return unchanged(RunFolder(place.folder), cursor.files)
    now = [mark(place.folder, path, 0) for path in event_files(place.folder)]
    return now == [one.model_copy(update={"offset": 0}) for one in cursor.files]


def _below(path: Path) -> Iterator[tuple[Path, RunPlace]]:
    """The runs at and below a folder; links are not followed, but the folder itself may be one. Raises OSError."""
    next(os.scandir(path), None)  # os.walk is silent about what it cannot open
    for root, folders, files in os.walk(path):
        folder = Path(root)
        if TREE_STATE in files:
            folders.clear()
        elif RunFolder(folder.absolute()).is_run():
            folders.clear()
            yield path, RunPlace("", folder.absolute(), "biodist")
        elif any(EVENTS in name for name in files):
            yield path, RunPlace("", folder.absolute(), "foreign")
        folders.sort()


def _named(found: Sequence[tuple[Path, RunPlace]], several: bool) -> list[RunPlace]:
    """Names below the path that was given; where several were, with that one's own name before."""
    places: dict[Path, RunPlace] = {}
    taken: Counter[str] = Counter()
    for path, place in found:
        if place.folder in places:
            continue
        below = place.folder.relative_to(path.absolute()).as_posix()
        own = path.absolute().name or "root"
        name = own if below == "." else f"{own}/{below}" if several else below
        taken[name] += 1
        unique = name if taken[name] == 1 else f"{name} ({taken[name]})"
        places[place.folder] = RunPlace(unique, place.folder, place.kind)
    return list(places.values())
