"""Shows how an attempt gets on: a bar on a terminal, plain lines elsewhere. Fed by the events file of rank 0."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from biodist.plan.plan import Plan
from biodist.run.folder import AttemptFolder

_RECENT_STEPS = 50
_LINE_EVERY_S = 10.0


class EventTail:
    """Gives the events that were added to a file since it was last asked; the file may appear later."""

    def __init__(self, path: Path):
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def new(self) -> list[dict[str, Any]]:
        """Whole lines only: one that is being written comes with the next call."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                return []
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()


@dataclass
class Standing:
    """Where the attempt stands, by its events. Rates are over the last steps, time in training steps alone."""

    total_steps: int
    step: int = 0
    phase: str = "starting"
    loss: float | None = None
    learning_rate: float | None = None
    _recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_RECENT_STEPS))  # tokens, seconds

    def take(self, event: dict[str, Any]) -> None:
        """Brings the standing up to one event."""
        kind = event.get("kind")
        if kind == "resumed":
            self.step = event["step"]
        elif kind == "phase":
            self.phase = event["name"]
        elif kind == "finished":
            self.phase = "finished"
        elif kind == "step":
            self.step = event["step"]
            self.loss = event["loss"]
            self.learning_rate = event["learning_rate"]
            self._recent.append((event["tokens"], event["seconds"]))

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens fed to the model, padding not, over all ranks."""
        seconds = sum(seconds for _, seconds in self._recent)
        return sum(tokens for tokens, _ in self._recent) / seconds if seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Of training steps."""
        if not self._recent:
            return None
        return (self.total_steps - self.step) * sum(seconds for _, seconds in self._recent) / len(self._recent)

    def figures(self) -> str:
        """Loss, learning rate, speed and time left, those that are known."""
        parts = []
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4f}")
        if self.learning_rate is not None:
            parts.append(f"lr {self.learning_rate:.2e}")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:,.0f} tok/s")
        if self.seconds_left is not None and self.step < self.total_steps:
            parts.append(f"{duration(self.seconds_left)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class RunProgress:
    """Shows an attempt's progress; a context manager. Give `watch` and `say` to `run_attempt`.

    Without a terminal: a line at every new phase, and one every `line_every_s` seconds while steps are made.
    """

    def __init__(
        self, attempt: AttemptFolder, plan: Plan, console: Console | None = None, line_every_s: float = _LINE_EVERY_S
    ):
        self.standing = Standing(plan.batch.total_steps)
        self._tail = EventTail(attempt.events(0))
        self._console = console or Console(file=sys.stderr, highlight=False)
        self._show: _Bar | _Lines
        if self._console.is_terminal:
            self._show = _Bar(self._console, self.standing)
        else:
            self._show = _Lines(self._console, line_every_s)

    def watch(self) -> None:
        """Reads what is new and shows it."""
        events = self._tail.new()
        for event in events:
            self.standing.take(event)
            if "problem" in event:
                self.say(f"passed over: {event['problem']}")
            if "notice" in event:
                self.say(f"note: {event['notice']}")
        if events:
            self._show.update(self.standing)

    def say(self, line: str) -> None:
        """Prints a line of its own, above the bar if there is one."""
        self._console.print(line, markup=False, soft_wrap=True)

    def __enter__(self) -> RunProgress:
        self._show.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._show.stop(self.standing)
        self._tail.close()


class _Bar:
    def __init__(self, console: Console, standing: Standing):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[figures]}"),
        )
        # The bar takes the width that the figures leave.
        self._progress = Progress(*columns, console=console, refresh_per_second=4, expand=True)
        self._task: TaskID = self._progress.add_task(standing.phase, total=standing.total_steps, figures="")

    def start(self) -> None:
        self._progress.start()

    def update(self, standing: Standing) -> None:
        self._progress.update(
            self._task, completed=standing.step, description=standing.phase, figures=standing.figures()
        )

    def stop(self, standing: Standing) -> None:
        self.update(standing)
        self._progress.stop()


class _Lines:
    def __init__(self, console: Console, every_s: float):
        self._console = console
        self._every_s = every_s
        self._last: tuple[str, int] = ("", -1)  # phase and step last shown
        self._due = 0.0

    def start(self) -> None:
        """Nothing to draw before the first event."""

    def update(self, standing: Standing) -> None:
        if standing.phase != self._last[0] or (standing.step != self._last[1] and time.monotonic() >= self._due):
            self._line(standing)

    def stop(self, standing: Standing) -> None:
        if self._last[1] >= 0 and (standing.phase, standing.step) != self._last:
            self._line(standing)

    def _line(self, standing: Standing) -> None:
        self._last = (standing.phase, standing.step)
        self._due = time.monotonic() + self._every_s
        where = f"{standing.phase}  step {standing.step:,}/{standing.total_steps:,}"
        self._console.print("  ".join(filter(None, [where, standing.figures()])), markup=False, soft_wrap=True)
