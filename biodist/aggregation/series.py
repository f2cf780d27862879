"""One scalar of one run over its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.int64]
Values = NDArray[np.float64]


class Point(NamedTuple):
    """One value, after `step`; `time` is UNIX seconds."""

    step: int
    value: float
    time: float


@dataclass(frozen=True, eq=False)
class Series:
    """Points with strictly growing steps: `steps` int64[n], `values` float64[n], `times` float64[n] (UNIX seconds)."""

    steps: Steps
    values: Values
    times: Values

    def __post_init__(self) -> None:
        if not len(self.steps) == len(self.values) == len(self.times):
            lengths = f"{len(self.steps)}, {len(self.values)} and {len(self.times)}"
            raise ValueError(f"steps, values and times must be of one length, but are of {lengths}")
        if len(self.steps) > 1 and not (np.diff(self.steps) > 0).all():
            raise ValueError("steps must grow from point to point")

    def __len__(self) -> int:
        return len(self.steps)

    def point(self, index: int) -> Point:
        """The point at `index`, which may count from the end."""
        return Point(int(self.steps[index]), float(self.values[index]), float(self.times[index]))

    def last(self) -> Point | None:
        """The newest point; None where there is none."""
        return self.point(-1) if len(self) else None

    def since(self, index: int) -> Series:
        """The points from `index` on."""
        return Series(self.steps[index:], self.values[index:], self.times[index:])

    def best(self, mode: Literal["min", "max"]) -> Point | None:
        """The point of the least or the largest value, the earliest of equal ones; None without a finite value."""
        finite = np.flatnonzero(np.isfinite(self.values))
        if not len(finite):
            return None
        values = self.values[finite]
        return self.point(int(finite[values.argmin() if mode == "min" else values.argmax()]))


def monotone(steps: Steps, values: Values, times: Values) -> tuple[Series, int]:
    """A series of points in the order they were written, and how many were dropped.

    A point written again at its step or an earlier one stands for all it overtakes: that is what a restart that left
    no marker looks like.
    """
    if not len(steps):
        return Series(steps, values, times), 0
    coming = np.minimum.accumulate(steps[::-1])[::-1]  # the least step from here on
    kept = np.append(steps[:-1] < coming[1:], True)
    dropped = len(steps) - int(kept.sum())
    if not dropped:
        return Series(steps, values, times), 0
    return Series(steps[kept], values[kept], times[kept]), dropped


def is_new(steps: Steps) -> NDArray[np.bool_]:
    """Where a step is higher than every one before it, bool[n]: of a step told twice the first stands. n is not 0."""
    return np.append(True, steps[1:] > np.maximum.accumulate(steps)[:-1])


def per_second(counts: Values, seconds: Values) -> Values:
    """Rates; 0 where no time was measured."""
    return np.divide(counts, seconds, out=np.zeros_like(counts), where=seconds != 0)
