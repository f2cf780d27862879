"""What a sweep asks of the place where its trials run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from biodist.run.folder import RunFolder
from biodist.sweeps.ledger import Started


@dataclass(frozen=True)
class Launch:
    """A trial that is to be started, or gone on with, in its own run folder."""

    key: str
    run: RunFolder
    overrides: tuple[str, ...]  # of the sweep's recipe


@dataclass(frozen=True)
class Refused:
    """A trial that cannot be started at all, and why."""

    key: str
    why: str


Note = Callable[[Started], None]
"""Writes a start to the ledger; when it returns, the start is known for good."""


class Backend(Protocol):
    """Runs trials. Every method returns soon; none waits for a trial."""

    @property
    def slots(self) -> int:
        """Trials at a time."""

    @property
    def gpus(self) -> float:
        """That a trial holds."""

    @property
    def look_every_s(self) -> float:
        """Seconds between two looks at the trials."""

    @property
    def ends_with_driver(self) -> bool:
        """Whether a driver that stops asks the trials to stop as well."""

    def adopt(self, started: Mapping[str, Started | None]) -> set[str]:
        """Of trials that an earlier driver may have started, those that live; what it started of them and did not
        live to note is ended. Raises MachineCannot where that cannot be found out."""

    def start(self, launches: Sequence[Launch], note: Note) -> list[Refused]:
        """Starts them, together where the place can."""

    def living(self, keys: Sequence[str]) -> set[str]:
        """Those of the started ones that go on, or wait."""

    def stop(self, key: str) -> None:
        """Asks a trial to end, for good; it still lives until `living` says otherwise."""

    def kill(self, keys: Sequence[str]) -> None:
        """Ends trials at once, saving nothing."""

    def close(self) -> None:
        """Lets go of what the backend itself holds; trials go on."""
