"""Signals that ask the launcher to stop. Handlers only note them; the launcher's loop acts."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def held_back(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Signals wait until the context ends. A process that is started meanwhile inherits it: for it they wait on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopRequests:
    """Notes every request while it is entered, and then restores what was there. For the main thread."""

    def __init__(self) -> None:
        self._noted: list[int] = []
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequests:
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            # None: a handler that was not set from Python, and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted.append(number)

    def take(self) -> list[signal.Signals]:
        """What came since the last call, in order."""
        taken = []
        while self._noted:
            taken.append(signal.Signals(self._noted.pop(0)))
        return taken
