"""What a person sees of a sweep: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from biodist.config.space import configurations, written
from biodist.sweeps.results import ranked, state_of
from biodist.sweeps.search import Search, Trial

SHOWN = 30  # rows of the live table
_REFRESH_S = 0.5


class SweepBoard:
    """Shows a search while it goes on. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._shown: dict[str, str] = {}
        self._next = 0.0

    def changed(self, search: Search) -> None:
        """Looks at the search; a terminal is drawn anew at most twice a second."""
        if self._live is None:
            self._lines(search)
            return
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REFRESH_S
            self._live.update(Group(trial_table(search, SHOWN), Text(headline(search))), refresh=True)

    def say(self, line: str) -> None:
        """One line, above the table."""
        self._console.print(Text(line))

    def _lines(self, search: Search) -> None:
        for trial in search.trials.values():
            state = state_of(trial)
            if state == "waiting" or self._shown.get(trial.key) == state:
                continue
            self._shown[trial.key] = state
            self._console.print(Text(f"trial {trial.key} {state}: {_settings(trial)}{_scored(trial, search)}"))

    def __enter__(self) -> SweepBoard:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()


def headline(search: Search) -> str:
    """How far it is, on one line."""
    states = [state_of(trial) for trial in search.trials.values()]
    total = configurations(search.sweep) * search.sweep.search.seeds
    counts = ", ".join(f"{states.count(state)} {state.replace('_', ' ')}" for state in dict.fromkeys(states))
    best = ranked(search)[:1]
    so_far = f"; best {search.sweep.metric} {best[0].value:.4f} ({best[0].name})" if best else ""
    return f"{len(states)} of {total} trials: {counts or 'none yet'}{so_far}"


def trial_table(search: Search, most: int | None = None) -> Table:
    """Those that run first, then by score; settings without the prefix that all share."""
    table = Table(box=None, pad_edge=False)
    keys = list(search.sweep.space)
    for name in ("trial", "state", "step", search.sweep.metric):
        table.add_column(name, justify="right" if name in ("step", search.sweep.metric) else "left")
    for key in keys:
        table.add_column(key.rpartition(".")[2], overflow="fold")
    trials = sorted(search.trials.values(), key=lambda trial: _order(trial, search))
    for trial in trials[:most]:
        value = "" if trial.value is None else f"{trial.value:.4f}"
        settings = [_short(trial.settings[key]) if key in trial.settings else "" for key in keys]
        cells = (trial.key, state_of(trial).replace("_", " "), f"{trial.step:,}", value, *settings)
        table.add_row(*map(Text, cells))
    if most is not None and len(trials) > most:
        table.add_row(Text(f"… {len(trials) - most} more"))
    return table


def failures(search: Search) -> Iterator[str]:
    """A line for every trial that failed: which, and why."""
    for trial in search.trials.values():
        if trial.end == "failed":
            yield f"trial {trial.key} failed: {trial.why} ({_settings(trial)})"


def _order(trial: Trial, search: Search) -> tuple[bool, float, int]:
    sign = -1 if search.sweep.mode == "max" else 1
    return (trial.end is not None, float("inf") if trial.value is None else sign * trial.value, trial.number)


def _settings(trial: Trial) -> str:
    return ", ".join(f"{key}={_short(value)}" for key, value in trial.settings.items())


def _scored(trial: Trial, search: Search) -> str:
    score = "" if trial.value is None else f"; {search.sweep.metric} {trial.value:.4f} by step {trial.step:,}"
    return score + (f"; {trial.why}" if trial.end == "failed" else "")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else written(value)
