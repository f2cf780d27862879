"""One TensorBoard tree out of many runs: `runs/<name>`, `groups/<settings>/<statistic>`, and the HParams page.

The tree is its own memory: the state file says how far each source was read and how each file was left, and groups are
reduced from the tree's files. So a call reads what is new, and a file that is not as it was left is made again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol, TypeVar

from biodist.aggregation.event_encoding import opening, summary_record
from biodist.aggregation.groups import Group, group_runs
from biodist.aggregation.hyper_parameters import experiment
from biodist.aggregation.part_store import Part
from biodist.aggregation.run_board import Board, BoardFile, metrics_of
from biodist.aggregation.runs import TREE_STATE, RunPlace, is_unchanged
from biodist.aggregation.tree_state import GroupEntry, RunEntry, TreeState, Update
from biodist.aggregation.tree_work import (
    group_board,
    parts_of,
    reduce_part,
    run_board,
    update_group,
    update_run,
    write_group,
)
from biodist.errors import MachineCannot, Problem, RunFailed, UserError
from biodist.run.durable import write_text
from biodist.run.folder import RunFolder
from biodist.run.lease import Fence, Lease, RunHeld

_WRITER = ".writer"  # where the lease lies
_FEW = 8  # runs that are sooner read here than by processes that have to start
_MOST_PROCESSES = 8

_PART = 32  # members of a group that are reduced at once

Task = TypeVar("Task")
Done = TypeVar("Done")


class Together(Protocol):
    """Maps a function over tasks, in order; several at a time."""

    def __call__(self, work: Callable[[Task], Done], them: Sequence[Task]) -> Iterator[Done]: ...


@dataclass(frozen=True)
class Tree:
    """The folder that TensorBoard is started on."""

    root: Path

    @classmethod
    def prepare(cls, root: Path) -> Tree:
        """Makes the folder, or takes up the tree that is in it. Raises UserError for somebody else's."""
        tree = cls(root.absolute())
        do = "name a new folder with --out, or one that this command made"
        try:
            tree.root.mkdir(parents=True, exist_ok=True)
            strangers = [path.name for path in tree.root.iterdir() if path.name != _WRITER]
        except OSError as error:
            raise UserError(Problem(f"--out {root}", f"cannot be made or read: {error.strerror}", do)) from None
        if strangers and TREE_STATE not in strangers:
            raise UserError(Problem(f"--out {root}", f"is not empty and holds no {TREE_STATE}", do))
        return tree

    @contextmanager
    def writing(self) -> Iterator[TreeWriter]:
        """The right to write, until the block is left. Raises MachineCannot while another process has it."""
        writer = RunFolder(self.root / _WRITER)
        try:
            writer.root.mkdir(exist_ok=True)
            lease = Lease.acquire(writer)
        except RunHeld as error:
            raise MachineCannot(f"{self.root}: another command writes this tree. {error}") from None
        except OSError as error:
            raise MachineCannot(f"{self.root}: cannot be written: {error.strerror}") from None
        with lease:
            yield TreeWriter(self.root, lease.fence())


@dataclass(frozen=True)
class TreeWriter:
    """The one process that writes a tree."""

    root: Path
    fence: Fence

    @property
    def state_file(self) -> Path:
        return self.root / TREE_STATE

    def update(self, places: Sequence[RunPlace], group_by: Sequence[str] = (), processes: int | None = None) -> Update:
        """Brings the tree up to these runs; what it holds of others goes.

        Raises UserError for a key to group by that no run has, MachineCannot when the disk is full or another process
        has taken the tree over.
        """
        try:
            return self._update(places, group_by, processes)
        except OSError as error:
            raise MachineCannot(f"{error.filename or self.root}: cannot be written: {error.strerror}") from None

    def _update(self, places: Sequence[RunPlace], group_by: Sequence[str], processes: int | None) -> Update:
        self.fence.check()
        state = self._state()
        work = [(place, self._known(state, place)) for place in places]
        old = {place.name: entry for place, entry in work if entry is not None and _is_current(entry)}
        changed = [task for task in work if task[0].name not in old]
        # A few runs that grew can be of a large group: that is read anew.
        with _workers(len(places) if changed and group_by else len(changed), processes) as together:
            new = {entry.name: entry for entry in together(partial(update_run, self.root), changed)}
            entries = {place.name: new.get(place.name) or old[place.name] for place in places}
            removed = self._remove(state, entries)
            if any(entry.settings.get("data.sensitive") is True for entry in entries.values()):
                self.root.chmod(0o700)
            if new or removed:
                state = state.model_copy(update={"runs": entries})
                self._save(state)
            groups = self._groups(entries, group_by)
            made = self._reduced(together, self._due(state, groups, entries))
        kept = {group.label: state.groups[group.label] for group in groups if group.label in state.groups}
        kept |= {entry.label: entry for entry in made}
        self._remove_groups(state, set(kept))
        large = [part for entry in kept.values() if len(entry.made_of) > _PART for part in _parts(entry.made_of)]
        parts_of(self.root).keep_only(large)
        page, page_of = self._page(state, entries)
        self._save(TreeState(runs=entries, groups=kept, page=page, page_of=page_of))
        before = {place.name: entry for place, entry in work}
        return Update.of(before, entries, removed, len(kept))

    def _state(self) -> TreeState:
        """An unreadable state counts as none: the tree is made again."""
        with suppress(FileNotFoundError, RunFailed):
            return TreeState.load(self.state_file)
        # From now on the folder is known for a tree, whatever happens next.
        self._save(TreeState())
        return TreeState()

    def _save(self, state: TreeState) -> None:
        write_text(self.state_file, state.model_dump_json() + "\n")

    def _known(self, state: TreeState, place: RunPlace) -> RunEntry | None:
        entry = state.runs.get(place.name)
        if entry is None or entry.place != place or not run_board(self.root, place.name).holds(entry.file):
            return None
        return entry

    def _groups(self, entries: dict[str, RunEntry], keys: Sequence[str]) -> list[Group]:
        readable = {name: entry.settings for name, entry in entries.items() if entry.file is not None}
        return group_runs(readable, keys) if keys and readable else []

    def _due(
        self, state: TreeState, groups: Sequence[Group], entries: dict[str, RunEntry]
    ) -> list[tuple[Group, dict[str, BoardFile]]]:
        due = []
        for group in groups:
            made_of = {name: file for name in group.members if (file := entries[name].file) is not None}
            before = state.groups.get(group.label)
            if before is None or before.made_of != made_of or not self._holds_all(before):
                due.append((group, made_of))
        return due

    def _reduced(self, together: Together, due: Sequence[tuple[Group, dict[str, BoardFile]]]) -> list[GroupEntry]:
        """Small groups one by one, the members of a large one in parts, so that all processes have work."""
        small = [task for task in due if len(task[1]) <= _PART]
        made = list(together(partial(update_group, self.root), small))
        for group, made_of in due:
            if len(made_of) > _PART:
                reduced = together(partial(reduce_part, self.root), _parts(made_of))
                made.append(write_group(self.root, group, made_of, reduced))
        return made

    def _holds_all(self, entry: GroupEntry) -> bool:
        return all(group_board(self.root, entry.label, how).holds(file) for how, file in entry.files.items())

    def _remove(self, state: TreeState, entries: dict[str, RunEntry]) -> int:
        gone = [entry for name, entry in state.runs.items() if name not in entries and entry.file is not None]
        for entry in gone:
            self._clear(run_board(self.root, entry.name).folder)
        return len(gone)

    def _remove_groups(self, state: TreeState, kept: set[str]) -> None:
        for label, entry in state.groups.items():
            if label not in kept:
                for how in entry.files:
                    self._clear(group_board(self.root, label, how).folder)

    def _clear(self, folder: Path) -> None:
        """Takes a folder's event files away, and the folders that are empty then; others may lie below it."""
        with suppress(FileNotFoundError):
            for path in list(folder.iterdir()):
                if path.is_file():
                    path.unlink()
        while folder != self.root and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _page(self, state: TreeState, entries: dict[str, RunEntry]) -> tuple[BoardFile | None, str]:
        """The file that says what the HParams page compares."""
        shown = [entry for entry in entries.values() if entry.file is not None]
        if not shown:
            return None, ""
        metrics = dict.fromkeys(tag for entry in shown for tag in metrics_of(entry.settings, tuple(entry.points)))
        value = experiment([entry.settings for entry in shown], list(metrics))
        board = Board(self.root)
        if state.page_of == value.hex() and board.holds(state.page):
            return state.page, state.page_of
        return board.replace(opening(0.0) + summary_record(0, 0.0, value), 0), value.hex()


def _parts(made_of: Mapping[str, BoardFile]) -> list[Part]:
    """A large group's members, some at a time, always the same together."""
    names = sorted(made_of)
    return [{name: made_of[name] for name in names[at : at + _PART]} for at in range(0, len(names), _PART)]


def _is_current(entry: RunEntry) -> bool:
    """Whether nothing is new: a status can change without a file (a killed run's)."""
    try:
        return entry.status != "running" and is_unchanged(entry.place, entry.cursor)
    except OSError:
        return False


@contextmanager
def _workers(tasks: int, processes: int | None) -> Iterator[Together]:
    """Several processes where there is enough to do to be worth their start."""
    count = processes or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    if count == 1 or tasks < _FEW:
        yield _here
        return
    # Fresh ones: this process has a thread that keeps the lease alive, and a fork would copy half of it.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:

        def together(work: Callable[[Task], Done], them: Sequence[Task]) -> Iterator[Done]:
            return pool.map(work, them, chunksize=max(1, min(16, len(them) // (4 * count))))

        yield together


def _here(work: Callable[[Task], Done], them: Sequence[Task]) -> Iterator[Done]:
    return map(work, them)
