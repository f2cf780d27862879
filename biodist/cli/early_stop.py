"""A signal before training began: nothing to save, the command simply ends with 75."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from biodist.errors import Stopped

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def early_stop() -> Iterator[None]:
    """While data is read and the plan is made, a request to stop raises Stopped; the launcher then takes over."""
    before = {number: signal.signal(number, _stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    raise Stopped(f"{name}: stopped before training began; nothing was lost, the same command begins again")
