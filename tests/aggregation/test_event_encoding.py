"""Event files that are written: TensorBoard reads them back, value by value, in growing steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from biodist.aggregation.event_encoding import opening, scalar_records
from biodist.aggregation.series import Series


def random_series(draw: np.random.Generator, first: int, last: int) -> Series:
    size = int(draw.integers(1, last - first))
    steps = np.sort(draw.choice(np.arange(first, last), size=size, replace=False)).astype(np.int64)
    return Series(steps, draw.normal(size=size), 1.7e9 + steps)


@pytest.mark.parametrize(("first", "last"), [(0, 300), (16_000, 16_500), (-5, 5), (2_097_100, 2_097_200)])
def test_read_back_by_tensorboard(tmp_path: Path, first: int, last: int) -> None:
    draw = np.random.default_rng(first + 10)
    series = {tag: random_series(draw, first, last) for tag in ("loss", "é/ü", "a" * 200, "eval/f1")}
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(opening(1.7e9) + scalar_records(series))
    found = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    found.Reload()
    assert set(found.Tags()["scalars"]) == set(series)
    for tag, one in series.items():
        events = found.Scalars(tag)
        assert [event.step for event in events] == one.steps.tolist()
        assert [event.value for event in events] == one.values.astype(np.float32).tolist()
        assert [event.wall_time for event in events] == one.times.tolist()
    steps = [event.step for event in LegacyEventFileLoader(str(path)).Load() if event.HasField("summary")]
    assert steps == sorted(set(steps))


def test_values_that_32_bits_do_not_hold(tmp_path: Path) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e300, 1e-300])
    (tmp_path / "events.out.tfevents.1").write_bytes(
        opening(0.0) + scalar_records({"loss": Series(np.arange(5), values, np.zeros(5))})
    )
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    written = [event.value for event in found.Scalars("loss")]
    assert np.array_equal(written, [np.nan, np.inf, -np.inf, np.inf, 0.0], equal_nan=True)


def test_nothing_to_write() -> None:
    empty = Series(np.empty(0, np.int64), np.empty(0), np.empty(0))
    assert scalar_records({}) == scalar_records({"loss": empty}) == b""
