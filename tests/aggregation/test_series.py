"""One scalar over its steps."""

from __future__ import annotations

import numpy as np
import pytest

from biodist.aggregation.series import Series, monotone


def series(steps: list[int], values: list[float]) -> Series:
    return Series(np.array(steps, np.int64), np.array(values), np.arange(len(steps), dtype=float))


def test_last_and_best() -> None:
    one = series([1, 2, 3, 4], [0.5, float("nan"), 0.9, 0.9])
    assert one.last() == (4, 0.9, 3.0)
    assert one.best("max") == (3, 0.9, 2.0)
    assert one.best("min") == (1, 0.5, 0.0)
    empty = series([], [])
    assert empty.last() is None and empty.best("max") is None
    assert series([1], [float("inf")]).best("max") is None


def test_steps_must_grow() -> None:
    with pytest.raises(ValueError, match="must grow"):
        series([1, 1], [0.0, 0.0])
    with pytest.raises(ValueError, match="of one length"):
        Series(np.array([1]), np.array([1.0, 2.0]), np.array([1.0]))


def test_what_is_written_again_counts() -> None:
    steps = np.array([1, 2, 3, 2, 3, 4, 4])
    one, dropped = monotone(steps, np.arange(7.0), np.zeros(7))
    assert one.steps.tolist() == [1, 2, 3, 4]
    assert one.values.tolist() == [0.0, 3.0, 4.0, 6.0]
    assert dropped == 3
