"""A run of somebody else's: a folder of event files, read as TensorBoard reads it, and made monotone.

The files of a folder follow one another by name. A session's START takes away what was written before with its step
or a later one (`SummaryWriter(purge_step=…)`); then, what is written again at its step or an earlier one is what counts
(`monotone`): a restart that left no marker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from biodist.aggregation.event_scan import Damage, Restart, Scan, scan
from biodist.aggregation.hyper_parameters import settings_of
from biodist.aggregation.run_view import Cursor, FileMark, Marker, RunPlace, RunView, Scalar, mark
from biodist.aggregation.series import Series, Steps, Values, monotone
from biodist.errors import Problem

EVENTS = ".tfevents."
_WINDOW = 16 << 20  # bytes read at once
_NAMED = 5  # damaged records of a file that are named; all are counted
_SCALARS = "scalars"


@dataclass(frozen=True)
class Chunk:
    """Points of one tag in the order they were written. `tensor`: scalars only where the tag's metadata says so."""

    steps: Steps
    values: Values
    times: Values
    tensor: bool

    def before(self, step: int) -> Chunk:
        kept = self.steps < step
        return Chunk(self.steps[kept], self.values[kept], self.times[kept], self.tensor)


def event_files(folder: Path) -> list[Path]:
    """The event files of a folder, in the order they are read. Raises OSError."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if EVENTS in entry.name and entry.is_file())


def read_foreign(place: RunPlace, cursor: Cursor | None = None) -> RunView:
    """The run, or what is new since `cursor` where that only follows on. Raises OSError."""
    if cursor is not None:
        new = _Reading(place, cursor)
        if new.read() and not new.restarts:
            view = new.view(goes_on=True)
            if not view.dropped and _follows(view, cursor):
                return view
    whole = _Reading(place, Cursor())
    whole.read()
    return whole.view(goes_on=False)


def _follows(view: RunView, cursor: Cursor) -> bool:
    return all(
        not len(series) or series.steps[0] > cursor.last_steps.get(tag, -(1 << 62))
        for tag, series in view.series.items()
    )


@dataclass
class _Reading:
    place: RunPlace
    since: Cursor
    chunks: dict[str, list[Chunk]] = field(default_factory=dict)  # by tag
    restarts: list[Restart] = field(default_factory=list)
    settings: dict[str, Scalar] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    marks: list[FileMark] = field(default_factory=list)
    damaged: int = 0
    purged: int = 0

    def read(self) -> bool:
        """Reads what is new; False where the files are not those of the cursor, grown at their end."""
        self.plugins = dict(self.since.plugins)
        files = event_files(self.place.folder)
        known = self.since.files
        if len(known) > len(files):
            return False
        for number, path in enumerate(files):
            before = known[number] if number < len(known) else None
            if before is not None and not self._same(before, path, number == len(known) - 1):
                return False
            self._file(path, before)
        return True

    def _same(self, before: FileMark, path: Path, newest: bool) -> bool:
        """Whether a file is one that was read, and grew only if nothing after it was read."""
        stat = path.stat()
        if path.name != before.name or stat.st_ino != before.inode or stat.st_size < before.offset:
            return False
        return newest or stat.st_size == before.size

    def _file(self, path: Path, before: FileMark | None) -> None:
        offset = before.offset if before else 0
        if before is not None and path.stat().st_size == before.size:
            self.marks.append(before)
            return
        try:
            found: list[Damage] = []
            for start, part in _scans(path, offset):
                self._take(part)
                found += [Damage(start + one.offset, one.bytes, one.what) for one in part.damage]
                offset = start + part.end
        except OSError as error:
            self.problems.append(Problem(str(path), f"cannot be read: {error.strerror}", "it is left out"))
            return
        self._tell(path, found)
        self.marks.append(mark(self.place.folder, path, offset))

    def _tell(self, path: Path, found: list[Damage]) -> None:
        self.damaged += len(found)
        for one in found[:_NAMED]:
            what = f"{one.what}: {one.bytes:,} bytes from byte {one.offset:,} on"
            self.problems.append(Problem(str(path), what, "they are left out"))
        if len(found) > _NAMED:
            self.problems.append(
                Problem(str(path), f"{len(found) - _NAMED:,} more damaged records", "left out as well")
            )

    def _take(self, part: Scan) -> None:
        for tag, plugin in part.plugins.items():
            self.plugins.setdefault(tag, plugin)
        for content in part.hparams:
            self.settings.update(settings_of(content))
        for what in part.parts:
            if isinstance(what, Restart):
                self._purge(what)
                continue
            for column, named in enumerate(what.tags):
                chunk = Chunk(what.steps[:, column], what.values[:, column], what.times[:, column], named.tensor)
                self.chunks.setdefault(named.name, []).append(chunk)

    def _purge(self, restart: Restart) -> None:
        if not any(self.chunks.values()) and not self.since.last_steps:
            return  # the first start of all takes nothing away
        self.restarts.append(restart)
        for tag, chunks in self.chunks.items():
            self.chunks[tag] = [chunk.before(restart.step) for chunk in chunks]
            self.purged += sum(len(chunk.steps) for chunk in chunks) - sum(len(c.steps) for c in self.chunks[tag])

    def view(self, goes_on: bool) -> RunView:
        series: dict[str, Series] = {}
        dropped = self.purged
        for tag, chunks in self.chunks.items():
            one, overtaken = _series(
                chunks if self.plugins.get(tag) == _SCALARS else [c for c in chunks if not c.tensor]
            )
            dropped += overtaken
            if len(one):
                series[tag] = one
        last_steps = dict(self.since.last_steps) if goes_on else {}
        last_steps.update({tag: int(one.steps[-1]) for tag, one in series.items()})
        return RunView(
            name=self.place.name,
            folder=self.place.folder,
            kind="foreign",
            settings=self.settings,
            status="unknown",
            series=series,
            markers=tuple(Marker(r.step, 0.0, "restart", f"went on from step {r.step}") for r in self.restarts),
            problems=tuple(self.problems),
            dropped=dropped,
            damaged=self.damaged,
            cursor=Cursor(files=tuple(self.marks), last_steps=last_steps, plugins=self.plugins),
            goes_on=goes_on,
        )


def _scans(path: Path, offset: int) -> Iterator[tuple[int, Scan]]:
    """Scans of a file from `offset` on, window by window, each with where it starts. Raises OSError."""
    window = _WINDOW
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while offset < size:
            data = os.pread(file.fileno(), window, offset)
            final = offset + len(data) >= size
            found = scan(data, final=final)
            yield offset, found
            if final:
                return
            window = _WINDOW if found.end else 2 * window  # a record longer than the window
            offset += found.end


def _series(chunks: list[Chunk]) -> tuple[Series, int]:
    if not chunks:
        return Series(np.empty(0, np.int64), np.empty(0), np.empty(0)), 0
    if len(chunks) == 1:
        only = chunks[0]
        return monotone(only.steps, only.values, only.times)
    return monotone(
        np.concatenate([chunk.steps for chunk in chunks]),
        np.concatenate([chunk.values for chunk in chunks]),
        np.concatenate([chunk.times for chunk in chunks]),
    )
