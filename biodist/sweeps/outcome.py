"""How a trial stands, by its run's own files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from biodist.errors import RunFailed
from biodist.run.folder import RunFolder
from biodist.run.records import AttemptRecord
from launch.standing import History

_VALIDATION = b'"validation"'
_TAIL = 400  # characters of a log's last line


@dataclass(frozen=True)
class Score:
    """One evaluation of the validation split."""

    step: int
    value: float


@dataclass
class Scores:
    """Follows a run's `metrics.jsonl`. An attempt that goes on writes the file anew: it is then read from its start,
    and no step is given twice."""

    path: Path
    metric: str
    step: int = 0  # of the newest one given
    _offset: int = 0
    _file: tuple[int, int] = field(default=(0, 0))  # device and inode

    def new(self) -> Iterator[Score]:
        """The scores since the last call, in order; those that are no number are left out."""
        for line in self._lines():
            value = json.loads(line)
            found = value.get(self.metric)
            if value.get("split") != "validation" or not isinstance(found, int | float) or value["step"] <= self.step:
                continue
            self.step = value["step"]
            if math.isfinite(found):
                yield Score(value["step"], float(found))

    def _lines(self) -> Iterator[bytes]:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            stat = os.fstat(file.fileno())  # of the file that is read: another may stand in its place by now
            if (stat.st_dev, stat.st_ino) != self._file or stat.st_size < self._offset:
                self._file, self._offset = (stat.st_dev, stat.st_ino), 0
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                if _VALIDATION in line:
                    yield line


@dataclass(frozen=True)
class Outcome:
    """How a run ended whose processes are gone."""

    finished: bool
    asked: bool  # somebody has ended it for good
    why: str = ""  # where it did not finish


def outcome_of(run: RunFolder, log: Path) -> Outcome:
    """Raises OSError where the run cannot be read."""
    try:
        history = History.read(run)
    except RunFailed as error:
        return Outcome(False, False, str(error))
    if history.finished:
        return Outcome(True, False)
    if history.cancelled:  # before it began anything, or however it then ended
        return Outcome(False, True, "its job was cancelled")
    if (last := history.last) is None:
        return Outcome(False, False, f"nothing was begun: {last_line(log) or 'it left no word'}")
    if last.failure is not None:
        step = "" if last.failure.step is None else f" at step {last.failure.step}"
        return Outcome(False, False, f"rank {last.failure.rank}{step}: {last.failure.message}")
    if last.outcome == "stopped":
        return Outcome(False, last.job is None, f"stopped by {last.stopped_by or 'a signal'}")
    return Outcome(False, False, "killed" if last.outcome == "running" else last_line(log) or last.outcome)


def worked_s(run: RunFolder, now: float) -> float:
    """Seconds of all attempts of a run; of one that left no end, until its last event."""
    total = 0.0
    for attempt in run.attempts():
        try:
            record = AttemptRecord.load(attempt.record)
            until = record.ended if record.ended is not None else attempt.events(0).stat().st_mtime
        except (RunFailed, OSError):
            continue
        total += max(0.0, min(until, now) - record.started)
    return total


def last_line(log: Path) -> str:
    """The last thing that a trial's process said, shortened."""
    try:
        lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    problems = [line for line in lines if not line.startswith(("->", "note:"))]
    return (problems or [""])[-1][:_TAIL]
