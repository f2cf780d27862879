"""Signals set a flag; the ranks agree on it at a step boundary."""

from __future__ import annotations

from typing import Protocol

from biodist.run.tether import hear_stop


class Agreement(Protocol):
    """How the ranks find out what one of them knows."""

    def any(self, wish: bool) -> bool: ...


class StopAgreed(Exception):
    """All ranks know that one of them was asked to stop, and leave what they are doing."""


class StopFlag:
    """Set by the first of SIGINT, SIGTERM, SIGUSR1 (the launcher's request), SIGUSR2. The handler does nothing else."""

    def __init__(self) -> None:
        self.raised = False

    def install(self) -> None:
        """Takes the signals over, those that came before among them; call from the main thread."""
        hear_stop(self._raise)

    def heed(self, ranks: Agreement) -> None:
        """Every rank calls it at the same place. Raises StopAgreed on all of them when one was asked to stop."""
        if ranks.any(self.raised):
            raise StopAgreed

    def _raise(self) -> None:
        self.raised = True
