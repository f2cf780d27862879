"""What a checkpoint cost: one measured case a line. A repetition on record is not measured again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from biodist.run.durable import read_json_lines
from biodist.run.provenance import Commit
from biodist.run.records import Record

CaseName = Literal[
    "save-biodist",
    "save-deepspeed",
    "save-dd",
    "restore-biodist",
    "restore-unproven",
    "restore-deepspeed",
    "restore-biodist-cold",
    "restore-deepspeed-cold",
    "copy-biodist",
    "copy-plain",
]
"""save: from the start to what survives a power cut · restore: from the files to a state to train on, the files in the
page cache or, cold, not; DeepSpeed proves nothing, so ours is timed without its proof as well · copy: what the loop
stands still for, against one plain copy of the same bytes."""

IN_TURNS: tuple[tuple[CaseName, ...], ...] = (
    ("save-biodist", "save-deepspeed", "save-dd"),
    ("restore-biodist", "restore-unproven", "restore-deepspeed"),
    ("restore-biodist-cold", "restore-deepspeed-cold"),
    ("copy-biodist", "copy-plain"),
)
"""Cases that are compared with one another follow one another; who goes first changes."""


class Settings(Record):
    """What must be equal for two figures to be compared."""

    layers: int
    hidden_size: int
    parameters: int
    strategy: str
    processes: int
    threads: int  # of a process
    processor: str


class Row(Record):
    """One case of one repetition, over all processes."""

    commit: Commit
    settings: Settings
    repetition: int  # from 1
    case: CaseName
    bytes: int  # moved by this case: files written or read, memory copied
    seconds: float
    time: float  # UNIX seconds of the end

    @property
    def mb_per_second(self) -> float:
        """In 10^6 bytes."""
        return self.bytes / self.seconds / 1e6


Repetition = dict[CaseName, Row]


def turns(repetition: int) -> Iterable[CaseName]:
    """The cases of a repetition, in order."""
    for group in IN_TURNS:
        first = (repetition - 1) % len(group)
        yield from group[first:] + group[:first]


def read_repetitions(path: Path, commit: Commit, settings: Settings) -> dict[int, Repetition]:
    """Whole repetitions of one commit and settings, by number; none without a file."""
    found: dict[int, Repetition] = {}
    for line in read_json_lines(path):
        row = Row.model_validate(line)
        if (row.commit, row.settings) == (commit, settings):
            found.setdefault(row.repetition, {})[row.case] = row
    whole = sum(map(len, IN_TURNS))
    return {number: found[number] for number in sorted(found) if len(found[number]) == whole}
