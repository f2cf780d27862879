"""The ranks of an attempt as one task sees them: its own as a process, the others by what they leave in the folder."""

from __future__ import annotations

import signal
import time
from contextlib import suppress

from biodist.errors import EXIT_DONE, EXIT_STOPPED, RunFailed
from biodist.run.folder import AttemptFolder
from biodist.run.records import Ending, Failure
from launch.ranks import Ranks
from launch.slurm.life import Life
from launch.verdict import failure_of, standing_still

_LOOK_EVERY_S = 1.0
_OTHERS_S = 20.0  # once its own rank has ended well, so long the leader waits to hear how the others did


class Peers:
    """The task's own rank, and, for the leader, all others."""

    def __init__(self, own: Ranks, attempt: AttemptFolder, life: Life):
        rank, leads = life.rank, life.leads
        self._own = own
        self._life = life
        self._attempt = attempt
        self._rank = rank
        self._others = {other for other in range(life.world_size) if other != rank} if leads else set()
        self._heard: dict[int, Ending] = {}
        self._noted = False
        self._next_look = 0.0
        self._ended_at: float | None = None

    @property
    def running(self) -> list[int]:
        own = self._own.running
        if not own and self._ended_at is not None and time.monotonic() > self._ended_at + _OTHERS_S:
            return []  # a task that is gone leaves no word; its rank cannot hold the others back
        return sorted([*own, *(self._others - set(self._heard))])

    @property
    def endings(self) -> list[Ending]:
        return [*self._own.endings, *self._heard.values()]

    def look(self) -> None:
        """Notices endings, and says here how the own rank ended."""
        self._own.look()
        for ending in self._own.endings:
            self._note(ending)
        if self._others and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_EVERY_S
            self._hear()

    def signal(self, number: signal.Signals) -> None:
        """Sends it to the own rank; the other tasks are told by Slurm, and one wish is enough for all ranks."""
        self._own.signal(number)

    def stopped(self) -> list[int]:
        """The own rank, when it stands still; the others are told so."""
        still = self._own.stopped()
        if still:
            standing_still(self._rank, time.time()).save(self._attempt.failure(self._rank))
        return still

    def leave(self) -> None:
        """Says that the own rank, if it still runs, is ended by its launcher: it is not silent, and not to blame."""
        if not self._noted:
            path = self._attempt.ending(self._rank)
            with suppress(OSError):
                path.parent.mkdir(exist_ok=True)
                Ending(rank=self._rank, status=EXIT_STOPPED, time=time.time()).save(path)

    def silent(self) -> list[Failure]:
        """Ranks of which nothing is heard, first of them: where a node is lost, nobody is left to say so."""
        missing = sorted(self._others - set(self._heard) - set(self._attempt.failures()))
        if not missing:
            return []
        nodes = sorted({self._life.node_of(rank) for rank in missing})
        message = (
            f"fell silent with every rank that left no word ({', '.join(map(str, missing))}, on {', '.join(nodes)}): "
            "the node is lost, or the task there was killed"
        )
        return [Failure(rank=missing[0], time=time.time(), kind="silent", message=message)]

    def _note(self, ending: Ending) -> None:
        if self._noted:
            return
        self._noted = True
        self._ended_at = time.monotonic()
        if ending.status not in (EXIT_DONE, EXIT_STOPPED) and not self._attempt.failure(self._rank).exists():
            self._save(failure_of(ending))
        path = self._attempt.ending(self._rank)
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            ending.save(path)

    def _save(self, failure: Failure) -> None:
        with suppress(OSError):  # a full disk must not hide how the attempt ended
            failure.save(self._attempt.failure(self._rank))

    def _hear(self) -> None:
        for rank in set(self._attempt.endings()) & self._others - set(self._heard):
            with suppress(OSError, RunFailed):
                self._heard[rank] = Ending.load(self._attempt.ending(rank))
