"""Stitching: the attempts of a run read as one, each cut where a later one took up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from biodist.metrics.events import ResumedEvent, ScalarsEvent, StepEvent, read_events
from biodist.run.folder import AttemptFolder, RunFolder


@dataclass(frozen=True)
class Span:
    """What is kept of one attempt's events: those after `after` and up to `last` (None: all)."""

    path: Path
    after: int
    last: int | None
    started: float  # UNIX seconds of its first event


@dataclass(frozen=True)
class Stitched:
    """A run's events as if it had never been killed. Holds places, not events: they are read when asked for."""

    spans: tuple[Span, ...]

    @property
    def started(self) -> float | None:
        """UNIX seconds of the first event; None when there is none."""
        return self.spans[0].started if self.spans else None

    def events(self) -> Iterator[StepEvent | ScalarsEvent]:
        """Steps and scalars in order. Raises RunFailed where a file is damaged, naming file and line."""
        for span in self.spans:
            for event in read_events(span.path):
                if isinstance(event, ResumedEvent) or (span.last is not None and event.step > span.last):
                    continue
                yield event

    def missing(self) -> tuple[tuple[int, int], ...]:
        """Steps that no attempt's events hold, as (first, last): files lost with a disk, or not copied."""
        gaps, at = [], 0
        for event in self.events():
            if isinstance(event, StepEvent):
                if event.step > at + 1:
                    gaps.append((at + 1, event.step - 1))
                at = max(at, event.step)
        return tuple(gaps)


def stitch(run: RunFolder) -> Stitched:
    """All attempts of a run, whether it has ended or not."""
    return stitch_attempts(run.attempts())


def stitch_attempts(attempts: Sequence[AttemptFolder], resumed_step: int | None = None) -> Stitched:
    """`attempts` in their order, all of them cut at `resumed_step` where a further attempt resumes from it."""
    spans: list[Span] = []
    for attempt in attempts:
        began = _beginning(attempt.events(0))
        if began is not None:
            spans = [_cut(span, began.after) for span in spans] + [began]
    if resumed_step is not None:
        spans = [_cut(span, resumed_step) for span in spans]
    return Stitched(tuple(spans))


def _beginning(path: Path) -> Span | None:
    """The attempt's span before any cut; None when it got to no event worth keeping."""
    for event in read_events(path):
        # A missing `resumed` must not double a step: the first step itself says where the attempt took up.
        after = event.step - 1 if isinstance(event, StepEvent) else event.step
        return Span(path, after, None, event.time)
    return None


def _cut(span: Span, step: int) -> Span:
    return Span(span.path, span.after, step if span.last is None else min(span.last, step), span.started)
