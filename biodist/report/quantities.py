"""How numbers are written: the same on the page, in the terminal and in a model card."""

from __future__ import annotations

import math
from collections.abc import Sequence

from biodist.metrics.spread import Spread, spread

ABSENT = "–"
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def score(value: float | None) -> str:
    """A score between 0 and 1, or a loss: three decimals."""
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.3f}"


def spread_score(values: Sequence[float | None]) -> str:
    """Mean ± standard deviation (n - 1) of the values that are there; one value stands alone."""
    found = spread_of(values)
    if found is None:
        return ABSENT
    return score(found.mean) + (f" ± {found.deviation:.3f}" if found.deviation is not None else "")


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """Of the finite values; None where there is none."""
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    return spread(finite) if finite else None


def number(value: float | None, digits: int = 4) -> str:
    """Any figure, as short as `digits` significant ones allow: 3e-05, 0.25, 1,024."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if float(value).is_integer() and abs(value) < 10**15:
        return f"{int(value):,}"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """42.0 s, 3 min 07 s, 5 h 12 min, 2 d 03 h."""
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02d} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02d} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S:02d} h"


def percent(part: float, whole: float) -> str:
    """A share, with one decimal."""
    return f"{100 * part / whole:.1f} %" if whole else ABSENT


def gigabytes(count: float) -> str:
    """Bytes in units of 10^9."""
    return f"{count / 1e9:,.2f}"
