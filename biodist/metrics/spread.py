"""How far values of one figure spread: mean, standard deviation, and where the mean lies with some confidence."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from biodist.run.records import Record

CONFIDENCE = 0.95


class Spread(Record):
    """`n` values: their mean, the sample's standard deviation (divisor n - 1), and the interval of the mean.

    One value has neither deviation nor interval. The interval is Student's t, two-sided; it takes the values to be
    independent and roughly normal, and is not cut to the range a score can have.
    """

    n: int
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None


def spread(values: Sequence[float], confidence: float = CONFIDENCE) -> Spread:
    """Of finite values, at least one. Raises ValueError for none, or one that is not finite."""
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{len(values)} values, must be one or more finite numbers")
    n, mean = len(values), statistics.fmean(values)
    if n == 1:
        return Spread(n=1, mean=mean)
    deviation = statistics.stdev(values)
    half = student_t(confidence, n - 1) * deviation / math.sqrt(n)
    return Spread(n=n, mean=mean, deviation=deviation, low=mean - half, high=mean + half)


def student_t(confidence: float, degrees: int) -> float:
    """The t that a share `confidence` of Student's distribution lies within, on both sides of 0 together."""
    from scipy.special import stdtrit  # the quantile alone: scipy.stats takes a second to import

    return float(stdtrit(degrees, (1 + confidence) / 2))
