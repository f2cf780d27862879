"""The ledger of a sweep: every decision before it takes effect, and what came of it. Appended, synced, never changed.

Whatever else a sweep keeps is made of it: a driver that starts anew applies the same events in the same order, and
its searcher, its scheduler and its table are where they were.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from biodist.errors import RunFailed
from biodist.run.durable import JsonLines, read_json_lines
from biodist.run.records import Record

End = Literal["finished", "stopped_early", "out_of_budget", "cancelled", "failed"]


class Event(Record):
    """One line. `time`: UNIX seconds."""

    time: float = Field(default_factory=time.time)


class DriverBegan(Event):
    """A driver has taken the sweep up."""

    kind: Literal["driver"] = "driver"
    host: str
    pid: int


class DriverEnded(Event):
    """It has let go of it by itself; one that was killed leaves no such line."""

    kind: Literal["driver_ended"] = "driver_ended"


class Intent(Event):
    """A trial is to be run; on disk before anything of it is started."""

    kind: Literal["intent"] = "intent"
    key: str  # <8 hex of settings and seed>-<number>: its run's folder, its job's name
    number: int  # of the trial, from 1
    proposal: int  # of the configuration, from 1; trials of one differ in their seed alone
    seed: int
    settings: dict[str, Any]


class Started(Event):
    """A process or a job of a trial was started."""

    kind: Literal["started"] = "started"
    key: str
    pid: int | None = None
    start_ticks: int | None = None  # with pid and process_space it names a process for good
    process_space: str | None = None
    job: str | None = None  # Slurm's number, or the name of Ray's actor


class Reported(Event):
    """A score of the validation split, told to the scheduler. Steps of a trial only ever grow."""

    kind: Literal["reported"] = "reported"
    key: str
    step: int
    value: float
    is_last: bool = False  # of the trial's steps: there is nothing left to end early


class Faltered(Event):
    """An attempt of a trial failed; it is tried again, or given up with the next line."""

    kind: Literal["faltered"] = "faltered"
    key: str
    why: str


class Ended(Event):
    """A trial is over. `value`: its best score, None where it reported none."""

    kind: Literal["ended"] = "ended"
    key: str
    state: End
    steps: int
    value: float | None
    seconds: float  # at work, of all its attempts
    why: str = ""


AnyEvent = Annotated[
    DriverBegan | DriverEnded | Intent | Started | Reported | Faltered | Ended, Field(discriminator="kind")
]
_EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


class Ledger:
    """Appends events; each is on the disk when `append` returns. One writer: who holds the driver's lease."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = JsonLines(path)
        self.seconds = 0.0  # spent writing

    def append(self, event: AnyEvent) -> None:
        """Raises OSError when the disk is full."""
        began = time.perf_counter()
        self._lines.append(event.model_dump(mode="json"))
        self._lines.sync()
        self.seconds += time.perf_counter() - began

    def close(self) -> None:
        self._lines.close()


def read_ledger(path: Path) -> Iterator[AnyEvent]:
    """The events in order; nothing where there is no ledger. A last line that a crash has cut does not count.

    Raises RunFailed for a line that is no event, with file and line.
    """
    for number, value in enumerate(read_json_lines(path), start=1):
        try:
            yield _EVENT.validate_python(value)
        except ValidationError:
            raise RunFailed(
                f"{path}:{number}: is no event of a sweep; restore the file, or begin a new sweep"
            ) from None
