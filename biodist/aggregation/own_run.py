"""A run of ours, read from its attempts' events: stitched as `biodist.metrics.stream` does, without writing anything.

metrics.jsonl holds the same points, but not when they were made; the events do, and are read as fast.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from biodist.aggregation.event_lines import Columns, EventLines, read_event_lines
from biodist.aggregation.rank_paces import rank_series
from biodist.aggregation.run_view import Cursor, FileMark, Marker, RunPlace, RunView, Scalar, Status, mark
from biodist.aggregation.series import Series, is_new, per_second
from biodist.errors import BiodistError, Problem, RunFailed, UserError
from biodist.metrics.stitching import Span, stitch
from biodist.run.folder import AttemptFolder, RunFolder
from biodist.run.lease import STALE_S
from biodist.run.records import AttemptRecord, Result

_NAMED = 5  # damaged lines of a file that are named; all are counted
_TRAIN = "train"


def run_files(run: RunFolder) -> list[Path]:
    """The files that a view is made of, those that are there. Raises OSError."""
    files = [run.result]
    for attempt in run.attempts():
        files += [attempt.record, attempt.plan, *(path for _, path in rank_events(attempt))]
    return [path for path in files if path.exists()]


def rank_events(attempt: AttemptFolder) -> list[tuple[int, Path]]:
    """The ranks that left events, and their files, by rank. Raises OSError."""
    found = []
    for path in attempt.root.iterdir():
        number = path.name.removeprefix("events-rank-").removesuffix(".jsonl")
        if number.isdigit() and path == attempt.events(int(number)):
            found.append((int(number), path))
    return sorted(found)


def read_own(place: RunPlace) -> RunView:
    """The run. Raises RunFailed, naming the file, when nothing of it can be read; OSError."""
    run = RunFolder(place.folder)
    marks = [mark(run.root, path) for path in run_files(run)]  # before the reading: what comes meanwhile is new
    reading = _Reading(run)
    series = reading.series()
    records = tuple(reading.records())
    result = reading.result()
    return RunView(
        name=place.name,
        folder=place.folder,
        kind="biodist",
        settings=reading.settings(),
        status=status_of(run, records, result),
        series=series,
        attempts=records,
        ranks=tuple(sorted(reading.ranks)),
        markers=tuple(_markers(records)),
        result=result,
        problems=tuple(reading.problems),
        dropped=reading.dropped,
        damaged=reading.damaged,
        cursor=Cursor(files=tuple(marks), last_steps={tag: int(one.steps[-1]) for tag, one in series.items()}),
    )


def status_of(run: RunFolder, records: Sequence[AttemptRecord], result: Result | None) -> Status:
    """How the run stands, by its files alone: Slurm is not asked."""
    if result is not None and result.status == "finished":
        return "finished"
    if not records:
        return "new"
    outcome = records[-1].outcome
    if outcome != "running":
        return outcome
    try:
        silent_s = time.time() - run.lease.stat().st_mtime
    except OSError:
        return "killed"
    return "running" if silent_s <= STALE_S else "killed"


@dataclass
class _Reading:
    run: RunFolder
    problems: list[Problem] = field(default_factory=list)
    ranks: set[int] = field(default_factory=set)
    dropped: int = 0
    damaged: int = 0
    _told: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def series(self) -> dict[str, Series]:
        try:
            spans = stitch(self.run).spans
        except RunFailed as error:
            raise RunFailed(f"{error}; nothing of the run can be read") from None
        read = [(span, self._lines(span.path)) for span in spans]
        self._told = {span.path: (span.after, int(lines.steps.steps.max(initial=0))) for span, lines in read}
        series = self._steps(read)
        series.update(self._scores(read))
        series.update(rank_series(list(self._paces(read))))
        return series

    def _lines(self, path: Path) -> EventLines:
        lines = read_event_lines(path)
        self.damaged += len(lines.damaged)
        for number in lines.damaged[:_NAMED]:
            self.problems.append(Problem(f"{path}:{number}", "the line is not a whole event", "it is left out"))
        if len(lines.damaged) > _NAMED:
            more = f"{len(lines.damaged) - _NAMED:,} more damaged lines"
            self.problems.append(Problem(str(path), more, "they are left out as well"))
        return lines

    def _steps(self, read: list[tuple[Span, EventLines]]) -> dict[str, Series]:
        parts = [_upto(lines.steps, span.last) for span, lines in read]
        self.dropped += sum(len(lines.steps.steps) for _, lines in read) - sum(len(part.steps) for part in parts)
        if not sum(len(part.steps) for part in parts):
            return {}
        steps = np.concatenate([part.steps for part in parts])
        times = np.concatenate([part.times for part in parts])
        values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
        new = is_new(steps)
        columns = {**values, "tokens_per_second": per_second(values["tokens"], values["seconds"])}
        return {f"{_TRAIN}/{name}": Series(steps[new], column[new], times[new]) for name, column in columns.items()}

    def _scores(self, read: list[tuple[Span, EventLines]]) -> dict[str, Series]:
        """As the stream has it: scores are of the newest step, and of a step each split counts once."""
        points: dict[str, list[tuple[int, float, float]]] = {}
        at, seen = 0, set[str]()
        for span, lines in read:
            for score in lines.scores:
                if span.last is not None and score.step > span.last:
                    self.dropped += 1
                    continue
                reached = max(score.step, _trained(lines.steps, score.line, span.last))
                if reached > at:
                    at, seen = reached, set()
                if score.step < at or score.split in seen:
                    continue
                seen.add(score.split)
                for name, value in _flat(score.values).items():
                    points.setdefault(f"{score.split}/{name}", []).append((score.step, value, score.time))
        return {tag: _series(found) for tag, found in points.items()}

    def _paces(self, read: list[tuple[Span, EventLines]]) -> Iterator[list[tuple[int, Columns]]]:
        """By attempt: what is kept of each rank's paces."""
        attempts = {attempt.events(0): attempt for attempt in self.run.attempts()}
        for span, lines in read:
            paces = []
            for rank, path in rank_events(attempts[span.path]):
                self.ranks.add(rank)
                paces.append((rank, _upto((lines if rank == 0 else self._lines(path)).paces, span.last)))
            yield paces

    def records(self) -> Iterator[AttemptRecord]:
        """Of a killed attempt, what its record was never told stands in its events."""
        for attempt in self.run.attempts():
            try:
                yield _completed(AttemptRecord.load(attempt.record), self._told.get(attempt.events(0)))
            except FileNotFoundError:
                continue
            except RunFailed as error:
                self.problems.append(Problem(str(attempt.record), str(error), "the attempt is left out"))

    def result(self) -> Result | None:
        try:
            return Result.load(self.run.result)
        except FileNotFoundError:
            return None
        except RunFailed as error:
            self.problems.append(Problem(str(self.run.result), str(error), "the run counts as unfinished"))
            return None

    def settings(self) -> dict[str, Scalar]:
        """The recipe as the newest attempt had it, by dotted key; as its file has it before the first attempt."""
        for attempt in reversed(self.run.attempts()):
            try:
                return dict(_dotted(json.loads(attempt.plan.read_bytes())["recipe"]))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return self._recipe()

    def _recipe(self) -> dict[str, Scalar]:
        from biodist.config.loading import load_recipe

        try:
            return dict(_dotted(load_recipe(self.run.recipe, check_files=False).model_dump(mode="json")))
        except (UserError, BiodistError) as error:
            self.problems.append(Problem(str(self.run.recipe), str(error), "the run has no settings"))
            return {}


def _completed(record: AttemptRecord, told: tuple[int, int] | None) -> AttemptRecord:
    """`told`: the step it resumed from, and the last it made."""
    if told is None or record.resumed_step is not None:
        return record
    resumed, last = told
    trained = {"first_step": resumed + 1, "last_step": last} if last > resumed else {}
    return record.model_copy(update={"resumed_step": resumed, **trained})


def _trained(steps: Columns, line: int, last: int | None) -> int:
    """The newest step before a line of the same file, of those that are kept."""
    before = int(np.searchsorted(steps.lines, line))
    newest = int(steps.steps[:before].max(initial=0))
    return newest if last is None else min(newest, last)


def _upto(columns: Columns, last: int | None) -> Columns:
    return columns if last is None else columns.chosen(columns.steps <= last)


def _flat(values: Mapping[str, Any]) -> Mapping[str, float]:
    if all(isinstance(value, int | float) for value in values.values()):
        return values
    from biodist.metrics.stream import flat_scores

    return flat_scores(values)


def _series(points: list[tuple[int, float, float]]) -> Series:
    steps, values, times = zip(*points, strict=True)
    return Series(np.array(steps, np.int64), np.array(values, np.float64), np.array(times, np.float64))


def _dotted(value: Any, path: str = "") -> Iterator[tuple[str, Scalar]]:
    """The scalars of nested sections by dotted key; a list of scalars as one text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _dotted(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        if any(isinstance(item, Mapping | list) for item in value):
            for number, item in enumerate(value):
                yield from _dotted(item, f"{path}.{number}")
        elif value:
            yield path, ", ".join(map(str, value))
    elif value is not None:
        yield path, value


def _markers(records: Sequence[AttemptRecord]) -> Iterator[Marker]:
    """What happened between the attempts of a run."""
    for before, record in pairwise(records):
        step = record.resumed_step or 0
        what = f"attempt {record.number} went on from step {step}"
        if before.job is not None and before.outcome in ("stopped", "running"):
            yield Marker(step, record.started, "preemption", f"{what}, after attempt {before.number} was preempted")
        else:
            ended = "was killed" if before.outcome == "running" else before.outcome
            yield Marker(step, record.started, "restart", f"{what}; attempt {before.number} {ended}")
        if before.world_size != record.world_size:
            counts = f"on {record.world_size} processes instead of {before.world_size}"
            yield Marker(step, record.started, "world size", f"{what} {counts}")


def unchanged(run: RunFolder, files: Sequence[FileMark]) -> bool:
    """Whether the files of a view are as they were. Raises OSError."""
    now = [mark(run.root, path) for path in run_files(run)]
    return now == list(files)
