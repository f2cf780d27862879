"""Runs reduced: against numpy on all values at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biodist.aggregation.groups import bands, group_runs, merged, reduce_by, reductions
from biodist.aggregation.run_view import RunView, Scalar
from biodist.aggregation.series import Series
from biodist.errors import UserError


def series(steps: list[int], values: list[float]) -> Series:
    return Series(np.array(steps, np.int64), np.array(values), np.array(steps, float))


def run(name: str, settings: dict[str, Scalar], tags: dict[str, Series]) -> RunView:
    return RunView(name, Path(name), "foreign", settings, "unknown", tags)


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_bands_are_those_of_all_values_at_once(offset: float) -> None:
    """A large offset is where sums of squares lose the spread."""
    draw = np.random.default_rng(1)
    values: dict[int, list[float]] = {}
    runs = []
    for number in range(12):
        steps = sorted(draw.choice(40, size=draw.integers(1, 30), replace=False).tolist())
        own = (draw.normal(size=len(steps)) + offset).tolist()
        runs.append({"loss": series(steps, own)} if number else {"other": series([1], [1.0])})
        if number:
            for step, value in zip(steps, own, strict=True):
                values.setdefault(step, []).append(value)
    band = bands(runs)["loss"]
    assert band.steps.tolist() == sorted(values)
    for at, step in enumerate(sorted(values)):
        there = np.array(values[step])
        assert band.count[at] == len(there)
        assert band.mean[at] == pytest.approx(there.mean(), rel=1e-13)
        assert band.min[at] == there.min() and band.max[at] == there.max()
        if len(there) > 1:
            assert band.sd[at] == pytest.approx(there.std(ddof=1), rel=1e-6)
        else:
            assert np.isnan(band.sd[at])
    assert band.series()["sd"].steps.tolist() == [s for s in sorted(values) if len(values[s]) > 1]


def test_parts_of_a_group_come_to_the_whole() -> None:
    draw = np.random.default_rng(2)
    runs = [{"loss": series(list(range(n, 30)), (draw.normal(size=30 - n) + 1e6).tolist())} for n in range(20)]
    whole = bands(runs)["loss"]
    in_parts = merged([reductions(runs[:7]), reductions(runs[7:8]), {}, reductions(runs[8:])])["loss"].band()
    assert in_parts.steps.tolist() == whole.steps.tolist() and in_parts.count.tolist() == whole.count.tolist()
    assert in_parts.mean == pytest.approx(whole.mean, rel=1e-13)
    assert in_parts.sd[1:] == pytest.approx(whole.sd[1:], rel=1e-6)
    assert in_parts.min.tolist() == whole.min.tolist() and in_parts.max.tolist() == whole.max.tolist()


def test_a_diverged_run_is_not_hidden() -> None:
    band = bands([{"loss": series([1, 2], [1.0, float("nan")])}, {"loss": series([1, 2], [2.0, 3.0])}])["loss"]
    assert band.mean[0] == 1.5 and np.isnan(band.mean[1]) and band.count.tolist() == [2, 2]


def test_groups_by_settings() -> None:
    one = {"loss": series([1], [1.0])}
    runs = [
        run("a", {"lr": 1e-5, "seed": 1}, one),
        run("b", {"lr": 1e-5, "seed": 2}, one),
        run("c", {"lr": 3e-5, "seed": 1}, one),
        run("d", {"seed": 1}, one),
    ]
    found = reduce_by(runs, ["lr"])
    assert [(g.group.label, g.group.members) for g in found] == [
        ("lr=1e-05", ("a", "b")),
        ("lr=3e-05", ("c",)),
        ("lr=none", ("d",)),
    ]
    assert found[0].bands["loss"].count.tolist() == [2]
    both = group_runs({r.name: r.settings for r in runs}, ["lr", "seed"])
    assert both[0].label == "lr=1e-05, seed=1"


def test_every_unknown_key_is_named() -> None:
    with pytest.raises(UserError) as caught:
        group_runs({"a": {"train.learning_rate": 1.0}}, ["train.learnin_rate", "learning_rate", "train.learning_rate"])
    assert [problem.do for problem in caught.value.problems] == ["did you mean train.learning_rate?"] * 2


def test_no_run_shares_a_tag() -> None:
    found = reduce_by(
        [run("a", {"k": 1}, {"x": series([1], [1.0])}), run("b", {"k": 1}, {"y": series([1], [1.0])})], ["k"]
    )
    assert {tag: band.count.tolist() for tag, band in found[0].bands.items()} == {"x": [1], "y": [1]}
