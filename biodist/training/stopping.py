"""Signals set a flag; the ranks agree on it at a step boundary."""

from __future__ import annotations

from biodist.run.tether import hear_stop


class StopFlag:
    """Set by the first of SIGINT, SIGTERM, SIGUSR1 (the launcher's request), SIGUSR2. The handler does nothing else."""

    def __init__(self) -> None:
        self.raised = False

    def install(self) -> None:
        """Takes the signals over, those that came before among them; call from the main thread."""
        hear_stop(self._raise)

    def _raise(self) -> None:
        self.raised = True
