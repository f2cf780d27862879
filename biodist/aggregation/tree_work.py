"""The work on a tree that several processes share: one run, or one group, at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from biodist.aggregation.groups import Group, Reduction, merged, reductions
from biodist.aggregation.life_story import marker_series
from biodist.aggregation.part_store import Part, PartStore
from biodist.aggregation.run_board import Board, BoardFile, charted
from biodist.aggregation.runs import Cursor, RunPlace, RunView, read_run
from biodist.aggregation.series import Series
from biodist.aggregation.tree_state import GroupEntry, RunEntry
from biodist.errors import BiodistError

RUNS, GROUPS = "runs", "groups"
_SPREAD = ("sd", "count")  # statistics on another scale than the curve's own
_NAME_BYTES = 200  # of a folder; file systems allow 255


def run_board(root: Path, name: str) -> Board:
    """Where a run's file lies in the tree."""
    return Board(root / RUNS / name)


def group_board(root: Path, label: str, statistic: str) -> Board:
    """Where a group's statistic lies in the tree."""
    name = re.sub(r"[/\x00-\x1f]", "_", label).encode()[:_NAME_BYTES].decode(errors="ignore")
    if name != label:  # another label may come to the same
        name += f"-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
    return Board(root / GROUPS / name / statistic)


def update_run(root: Path, task: tuple[RunPlace, RunEntry | None]) -> RunEntry:
    """Reads what is new of a run and puts it into the tree. Raises OSError when that cannot be written."""
    place, before = task
    board = run_board(root, place.name)
    try:
        view = read_run(place, before.cursor if before else None)
        if view.goes_on and before is not None and before.file is not None:
            if _follows(charted(view.series), before.file):
                file = board.append(before.file, charted(view.series))
                return before.grown(RunEntry.of(place, view, file))
            view = read_run(place)
    except (BiodistError, OSError) as error:
        problem = (str(place.folder), str(error), "the run is left out")
        return RunEntry(name=place.name, folder=place.folder, kind=place.kind, problems=(problem,))
    more = _growth(view, before) if before is not None else None
    if more is not None and before is not None and before.file is not None:
        return RunEntry.of(place, view, board.append(before.file, more))
    return RunEntry.of(place, view, board.write(view))


def parts_of(root: Path) -> PartStore:
    """Where the parts of large groups are kept."""
    return PartStore(root / ".parts")


def reduce_part(root: Path, part: Part) -> dict[str, Reduction]:
    """Some members of a large group; what was reduced before is not read again. Raises OSError."""
    store = parts_of(root)
    known = store.load(part)
    if known is None:
        known = _reduced(root, part)
        store.save(part, known)
    return known


def _reduced(root: Path, names: Iterable[str]) -> dict[str, Reduction]:
    """Members of a group by their files in the tree, one of them in memory at a time."""
    members = (read_run(RunPlace(name, run_board(root, name).folder, "foreign")).series for name in names)
    return reductions(map(charted, members))


def write_group(
    root: Path, group: Group, made_of: dict[str, BoardFile], parts: Iterable[Mapping[str, Reduction]]
) -> GroupEntry:
    """A group's files out of its reduced parts. Raises OSError."""
    reduced = {tag: reduction.band().series() for tag, reduction in merged(parts).items()}
    files = {}
    for how in ("mean", "sd", "min", "max", "count"):
        # On charts of their own: beside the curves, their scale would flatten them.
        named = {f"{how}/{tag}" if how in _SPREAD else tag: by[how] for tag, by in reduced.items()}
        files[how] = group_board(root, group.label, how).write_series(named)
    return GroupEntry(label=group.label, made_of=made_of, files=files)


def update_group(root: Path, task: tuple[Group, dict[str, BoardFile]]) -> GroupEntry:
    """Reduces and writes a group. Raises OSError."""
    group, made_of = task
    return write_group(root, group, made_of, [_reduced(root, group.members)])


def _growth(view: RunView, before: RunEntry) -> dict[str, Series] | None:
    """The new points of a run of ours that only went on; None where more than that has changed."""
    same = (
        *(view.status == before.status, view.settings == before.settings, len(view.attempts) == before.attempts),
        before.started in (None, view.started),  # the number of a file that is gone can be another's
    )
    if not all(same) or view.kind != "biodist" or before.file is None or not _appended(view.cursor, before.cursor):
        return None
    new: dict[str, Series] = {}
    for tag, one in charted(view.series).items():
        known = before.points.get(tag, 0)
        if known > len(one) or (known and int(one.steps[known - 1]) != before.cursor.last_steps.get(tag)):
            return None
        new[tag] = one.since(known)
    # A marker's stairs go on to the run's newest step.
    for tag, stairs in marker_series(view).items():
        new[tag] = stairs.since(int((stairs.steps <= before.file.last_step).sum()))
    return new if _follows(new, before.file) else None


def _appended(now: Cursor, before: Cursor) -> bool:
    """Whether the files of events are those of before, added to: a run can be made anew in the same place."""
    files = {mark.name: mark for mark in now.files}
    return all(
        (new := files.get(old.name)) is not None and new.inode == old.inode and new.size >= old.size
        for old in before.files
        if old.name.endswith(".jsonl")
    )


def _follows(new: Mapping[str, Series], file: BoardFile) -> bool:
    """Whether these points can be put at the file's end."""
    return all(not len(one) or int(one.steps[0]) >= file.last_step for one in new.values())
