"""Finds a rank that makes no progress: its stacks go to its log, its failure on record, exit 3."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from biodist.errors import EXIT_FAILED

STARTING_S = 600.0


class Watchdog:
    """Ends the process when ``beat`` was not called for ``timeout_s`` seconds; until ``begun``, for ``STARTING_S``
    where that is longer: imports from a busy disk, a compiler or a large checkpoint are no hang.

    ``found`` is told what the rank was doing, before the end; it runs in the watchdog's thread.
    """

    def __init__(self, timeout_s: float, found: Callable[[str], None]):
        self._timeout_s = timeout_s
        self._limit_s = max(timeout_s, STARTING_S)
        self._found = found
        self._last = time.monotonic()
        self._doing = "starting"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self, doing: str) -> None:
        """Progress was made; ``doing`` names what comes next."""
        self._doing = doing
        self._last = time.monotonic()

    def begun(self) -> None:
        """The start is over: from here on ``timeout_s`` alone counts."""
        self._limit_s = self._timeout_s

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self._timeout_s / 10)):
            still_s = time.monotonic() - self._last
            if still_s > self._limit_s:
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                self._found(f"no progress for {still_s:.0f} s while {self._doing}")
                os._exit(EXIT_FAILED)
