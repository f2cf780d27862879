"""Slow ranks: each one's speed against the others' and against its own past.

Speed is tokens a second in a rank's own forward passes, which wait for nobody (under zero3 they do, and the scores
come near to 1). The scores are those of nvidia-resiliency-ext: 1 is as fast as the reference, 0.5 half as fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biodist.aggregation.event_lines import Columns, read_event_lines
from biodist.aggregation.own_run import rank_events
from biodist.aggregation.series import Values
from biodist.run.folder import AttemptFolder, RunFolder

SLOW = 0.8  # of the reference's speed: below it a rank is named
WARM_UP = 3  # first steps of an attempt, which pay for caches and compilers
RECENT = 0.2  # the share of an attempt's steps that is held against those before
LEAST = 20  # steps of that share: fewer are no history


@dataclass(frozen=True)
class RankPace:
    """One rank over its attempt. Scores are ratios of speeds; None where there is nothing to compare with."""

    rank: int
    tokens_per_second: float  # in its own forward passes, median over steps
    against_median: float | None  # of all ranks' median speed
    against_past: float | None  # its newest steps against those before
    waiting_share: float  # of its step time, waiting for the others
    peak_memory_bytes: int

    @property
    def slow(self) -> bool:
        return any(score is not None and score < SLOW for score in (self.against_median, self.against_past))


def rank_paces(run: RunFolder) -> tuple[RankPace, ...]:
    """Of the newest attempt whose ranks told their pace; none of runs from before they did. Raises OSError."""
    for attempt in reversed(run.attempts()):
        if paces := _of_attempt(attempt):
            return paces
    return ()


def _of_attempt(attempt: AttemptFolder) -> tuple[RankPace, ...]:
    read = {rank: _paces(path) for rank, path in rank_events(attempt)}
    measured = {rank: paces for rank, paces in read.items() if len(paces.steps)}
    speeds = {rank: _median(_speeds(paces)) for rank, paces in measured.items()}
    middle = float(np.median(list(speeds.values()))) if len(speeds) > 1 else 0.0
    return tuple(
        RankPace(
            rank=rank,
            tokens_per_second=speeds[rank],
            against_median=speeds[rank] / middle if middle else None,
            against_past=_against_past(_speeds(paces)),
            waiting_share=_share(paces.values["waiting_seconds"], paces.values["seconds"]),
            peak_memory_bytes=int(paces.values["peak_memory_bytes"].max()),
        )
        for rank, paces in measured.items()
    )


def _paces(path: Path) -> Columns:
    """A row a step, after the warm-up."""
    paces = read_event_lines(path).paces
    return paces.chosen(slice(WARM_UP, None)) if len(paces.steps) > 2 * WARM_UP else paces


def _share(part: Values, whole: Values) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() else 0.0


def _speeds(paces: Columns) -> Values:
    seconds, tokens = paces.values["forward_seconds"], paces.values["tokens"]
    return tokens[seconds > 0] / seconds[seconds > 0]


def _median(values: Values) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _against_past(speeds: Values) -> float | None:
    recent = round(RECENT * len(speeds))
    if recent < LEAST:
        return None
    past = _median(speeds[:-recent])
    return _median(speeds[-recent:]) / past if past else None
