"""What is kept: the newest, the best, and every so-manyth; never nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodist.checkpoint.retention import kept_steps
from biodist.config.recipe import CheckpointSection

STEPS = st.sets(st.integers(1, 500))


@pytest.mark.parametrize(
    ("best", "keep", "kept"),
    [
        ([], {"keep_last": 1, "keep_best": 0}, {60}),
        ([], {"keep_last": 2, "keep_best": 1}, {50, 60}),
        ([30, 20], {"keep_last": 1, "keep_best": 1}, {30, 60}),
        ([30, 20, 60], {"keep_last": 1, "keep_best": 2}, {30, 20, 60}),
        ([35, 30], {"keep_last": 1, "keep_best": 1}, {30, 60}),  # the best of those still there
        ([], {"keep_last": 1, "keep_best": 1, "keep_every": 20}, {20, 40, 60}),
        ([], {"keep_last": 99}, {10, 20, 30, 40, 50, 60}),
    ],
)
def test_the_rules(best: list[int], keep: dict[str, int], kept: set[int]) -> None:
    assert kept_steps([60, 10, 30, 20, 50, 40], best, CheckpointSection(**keep)) == kept


@given(
    steps=STEPS,
    best=st.lists(st.integers(1, 500), unique=True),
    last=st.integers(1, 5),
    of_best=st.integers(0, 3),
    every=st.integers(0, 50),
)
def test_the_newest_and_the_best_are_never_deleted(
    steps: set[int], best: list[int], last: int, of_best: int, every: int
) -> None:
    keep = CheckpointSection(keep_last=last, keep_best=of_best, keep_every=every)
    kept = kept_steps(steps, best, keep)
    assert kept <= steps
    assert set(sorted(steps)[-last:]) <= kept
    assert set([step for step in best if step in steps][:of_best]) <= kept
    assert {step for step in steps if every and step % every == 0} <= kept
    assert len(kept) <= last + of_best + sum(1 for step in steps if every and step % every == 0)
    assert kept_steps(kept, best, keep) == kept  # what was kept once is not deleted by looking again
