"""Keeps the tables of a sweep up to date, in a small share of its time."""

from __future__ import annotations

import time
from collections.abc import Callable

from biodist.config.sweep_loading import StatedSweep
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.results import keep
from biodist.sweeps.search import Search

_SHARE = 0.02  # of the time, at most


class Keeping:
    """Writes the tables anew when a trial has ended, unless that took too large a share of the time so far."""

    def __init__(self, folder: SweepFolder, stated: StatedSweep, say: Callable[[str], None]) -> None:
        self._folder, self._stated, self._say = folder, stated, say
        self._ended = -1
        self._next = 0.0
        self.seconds = 0.0  # spent writing

    def changed(self, search: Search) -> None:
        ended = sum(trial.end is not None for trial in search.trials.values())
        if ended != self._ended and time.monotonic() >= self._next:
            self._ended = ended
            self._write(search)

    def settle(self, search: Search) -> None:
        """For the last time."""
        self._write(search)

    def _write(self, search: Search) -> None:
        began = time.monotonic()
        try:
            keep(self._folder, self._stated, search)
        except OSError as error:  # made of the ledger: the next one can be written again
            self._say(f"{self._folder.root}: its tables could not be brought up to date: {error}")
        took = time.monotonic() - began
        self.seconds += took
        self._next = time.monotonic() + took / _SHARE
