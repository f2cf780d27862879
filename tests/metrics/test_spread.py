"""Mean, deviation and interval, against scipy's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from biodist.metrics.spread import spread, student_t

pytestmark = pytest.mark.timeout(120)
SCORES = st.integers(0, 10**6).map(lambda number: number / 10**6)


@given(values=st.lists(SCORES, min_size=2, max_size=12), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_spread_is_what_scipy_says(values: list[float], confidence: float) -> None:
    found = spread(values, confidence)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert found.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    if error == 0:  # scipy gives no interval of no width
        assert found.low == found.mean == found.high
    else:
        low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=error)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


@given(value=SCORES)
def test_one_value_has_no_spread(value: float) -> None:
    found = spread([value])
    assert (found.n, found.mean, found.deviation, found.low, found.high) == (1, value, None, None, None)


@pytest.mark.parametrize("values", [[], [0.1, math.nan], [math.inf]])
def test_what_is_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        spread(values)


def test_the_interval_is_of_small_samples() -> None:
    """Tabulated t; the normal distribution's 1.96 would make five seeds look a third more certain than they are."""
    assert student_t(0.95, 4) == pytest.approx(2.776445, abs=1e-6)
    assert student_t(0.95, 2) == pytest.approx(4.302653, abs=1e-6)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0).normal(0.8, 0.01, size=(4000, 5))
    held = [found.low <= 0.8 <= found.high for found in (spread(row.tolist()) for row in draw)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)
