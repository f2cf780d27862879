"""The lines of a run's logs: each rank's own, and what its job said. They carry no time of their own: lines that are
there already come file by file, lines that arrive later come as they arrive."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from biodist.errors import BiodistError
from biodist.plan.plan import read_plan
from biodist.run.folder import AttemptFolder, RunFolder

_CHUNK = 1 << 16  # bytes
_JOB_LOG = re.compile(r"(\d+(?:_\d+)?)_(\d+)_log\.(out|err)")  # as submitit names them: job, task


@dataclass(frozen=True)
class Line:
    """One line of one log. `source`: ``0``, ``1``, … for a rank; ``job`` for what launcher, srun and Slurm say."""

    source: str
    text: str


class LogTail:
    """Gives the lines that were added to a log since it was last asked; the file may appear later."""

    def __init__(self, path: Path, source: str):
        self.path = path
        self.source = source
        self._file: BinaryIO | None = None
        self._rest = b""

    def skip_to_last(self, lines: int) -> None:
        """Leaves out all but the last `lines` of what is there now."""
        if (file := self._opened()) is not None:
            file.seek(_start_of_last(file, lines))

    def new(self) -> Iterator[Line]:
        """Whole lines; of one that is drawn over and over (a progress bar) what was drawn last."""
        if (file := self._opened()) is None:
            return
        while chunk := file.read(_CHUNK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                yield self._line(line)

    def rest(self) -> Iterator[Line]:
        """The last line, where its writer ended without a newline."""
        if self._rest:
            yield self._line(self._rest)
            self._rest = b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _opened(self) -> BinaryIO | None:
        if self._file is None:
            try:
                self._file = self.path.open("rb")
            except FileNotFoundError:
                return None
        return self._file

    def _line(self, line: bytes) -> Line:
        shown = line.rstrip(b"\r").rpartition(b"\r")[2]
        return Line(self.source, shown.decode("utf-8", errors="replace"))


def _start_of_last(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines of a file begin."""
    end = file.seek(0, 2)
    if lines == 0:
        return end
    at, wanted = end, lines + 1  # the newline before the first of them
    while at > 0:
        start = max(0, at - _CHUNK)
        file.seek(start)
        chunk = file.read(at - start)
        if at == end and not chunk.endswith(b"\n"):
            wanted -= 1  # a last line without its newline is one as well
        cut = len(chunk)
        while wanted > 0 and (found := chunk.rfind(b"\n", 0, cut)) >= 0:
            cut, wanted = found, wanted - 1
            if wanted == 0:
                return start + found + 1
        at = start
    return 0


@dataclass
class RunLogs:
    """The logs of a run's newest attempt, and of those that come after it. `opened` is told each attempt's number.

    `rank`: that rank's alone. `attempt`: that attempt's alone, without what the job said: a job has one log for all
    its lives. `lines`: so many of each file that is there at the start; None: all.
    """

    run: RunFolder
    rank: int | None = None
    attempt: int | None = None
    lines: int | None = None
    opened: Callable[[int], None] = lambda number: None
    _tails: dict[Path, LogTail] = field(default_factory=dict)
    _number: int = 0  # of the newest attempt whose logs are open
    _begun: bool = False

    def new(self) -> Iterator[Line]:
        """Lines added since the last call, file by file."""
        if self.rank is None and self.attempt is None:
            self._open_job_logs()
            yield from self._read()  # what a job says of an attempt's beginning comes before the attempt
        for attempt in self._unopened():
            ranks = _ranks(attempt)
            if ranks is None:
                break  # it is being made; its plan comes in a moment
            self._number = attempt.number
            self.opened(attempt.number)
            for rank in ranks if self.rank is None else [self.rank]:
                self._open(attempt.log(rank), str(rank))
        self._begun = True
        yield from self._read()

    def rest(self) -> Iterator[Line]:
        """Last lines without a newline; call it once nobody writes any more."""
        for tail in self._tails.values():
            yield from tail.rest()

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()

    def _unopened(self) -> list[AttemptFolder]:
        attempts = self.run.attempts()
        if self.attempt is not None:
            return [found for found in attempts if found.number == self.attempt != self._number]
        return [found for found in attempts if found.number > self._number][-1 if not self._begun else 0 :]

    def _open_job_logs(self) -> None:
        for job in self.run.jobs()[-1:]:
            names = {path: _JOB_LOG.fullmatch(path.name) for path in job.root.iterdir()}
            found = [(int(name[2]), path) for path, name in names.items() if name]
            for _, path in sorted(found):
                self._open(path, "job")

    def _open(self, path: Path, source: str) -> None:
        if path in self._tails:
            return
        self._tails[path] = LogTail(path, source)
        if self.lines is not None and not self._begun:
            self._tails[path].skip_to_last(self.lines)

    def _read(self) -> Iterator[Line]:
        for tail in self._tails.values():
            yield from tail.new()


def _ranks(attempt: AttemptFolder) -> range | None:
    try:
        return range(read_plan(attempt.plan).machine.world_size)
    except BiodistError:
        return None
