"""Follows the ranks of one attempt to their end: passes requests to stop on, judges a failure."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from biodist.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_STOPPED
from biodist.run.folder import AttemptFolder
from biodist.run.records import Ending, Failure
from launch.requests import StopRequests
from launch.verdict import FirstFailure, failure_written, first_failure, written_failures

_TURN_S = 0.1


class Watched(Protocol):
    """The ranks of an attempt, as far as this process can see them."""

    @property
    def running(self) -> list[int]: ...

    @property
    def endings(self) -> list[Ending]: ...

    def look(self) -> None: ...

    def signal(self, number: signal.Signals) -> None: ...

    def stopped(self) -> list[int]: ...

    def silent(self) -> list[Failure]: ...


@dataclass(frozen=True)
class Patience:
    """How long the launcher waits once a rank has failed."""

    others_s: float = 5.0  # for the other ranks to end by themselves and say why
    stacks_s: float = 2.0  # for those that have not to write their stacks


class _EndedAtOnce(Exception):
    """A second SIGINT."""


class Watching:
    """Follows the ranks of one attempt to their end."""

    def __init__(
        self,
        attempt: AttemptFolder,
        ranks: Watched,
        requests: StopRequests,
        watch: Callable[[], None] | None,
        say: Callable[[str], None],
        patience: Patience,
        asked_again: Callable[[signal.Signals], None] = lambda number: None,
    ):
        """`asked_again` hears of every request that comes while the ranks are stopping already."""
        self._attempt = attempt
        self._ranks = ranks
        self._requests = requests
        self._watch = watch or (lambda: None)
        self._say = say
        self._patience = patience
        self._asked_again = asked_again
        self._interrupts = 0
        self.asked: str | None = None  # the first signal that asked to stop

    def follow(self) -> tuple[int, FirstFailure | None]:
        """The attempt's exit code, and the first failure if one failed."""
        try:
            self._turn_until(lambda: not self._ranks.running or self._failed())
            failure = self._settle() if self._failed() else self._verdict([])
        except _EndedAtOnce:
            return EXIT_INTERRUPTED, None
        if failure is not None:
            return failure.exit_code, failure
        return self._ranks.endings[0].status, None

    def _failed(self) -> bool:
        badly = any(ending.status not in (EXIT_DONE, EXIT_STOPPED) for ending in self._ranks.endings)
        return badly or failure_written(self._attempt)

    def _settle(self) -> FirstFailure | None:
        """After a failure: hears the others out, asks those that go on for their stacks, and judges."""
        stopped = self._ranks.stopped()
        if not any(failure.kind == "hang" for failure in written_failures(self._attempt)):
            self._turn_until(lambda: not self._ranks.running, self._patience.others_s)
        # Nothing that ends from here on is evidence: it was us.
        endings_known = len(self._ranks.endings)
        if self._ranks.running:
            self._ranks.signal(signal.SIGQUIT)
            self._turn_until(lambda: not self._ranks.running, self._patience.stacks_s)
        return self._verdict(stopped, endings_known)

    def _verdict(self, stopped: list[int], endings_known: int | None = None) -> FirstFailure | None:
        written = written_failures(self._attempt)
        endings = self._ranks.endings[:endings_known]
        silent = self._ranks.silent() if written else []
        return first_failure(self._attempt, [*written, *silent], endings, stopped, time.time())

    def _turn_until(self, done: Callable[[], bool], seconds: float = float("inf")) -> None:
        until = time.monotonic() + seconds
        while True:
            self._ranks.look()
            self._watch()
            self._answer()
            if done() or time.monotonic() > until:
                return
            time.sleep(_TURN_S)

    def _answer(self) -> None:
        for number in self._requests.take():
            if number == signal.SIGINT:
                self._interrupts += 1
            if self._interrupts > 1:
                self._say("second SIGINT: ended at once, nothing saved since the last checkpoint")
                raise _EndedAtOnce
            if self.asked is not None:
                self._say(f"{number.name}: already stopping; Ctrl-C again ends at once")
                self._asked_again(number)
                continue
            self.asked = number.name
            self._say(f"{number.name}: stopping after this step, saving first; Ctrl-C again ends at once")
            self._ranks.signal(signal.SIGUSR1)
