"""The order of samples: one permutation an epoch, a function of seed, epoch and data alone."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.data.order import epoch_order, step_samples, steps_per_epoch


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.text(max_size=8), st.integers(1, 300))
def test_a_permutation(seed, epoch, fingerprint, samples):
    assert sorted(epoch_order(seed, epoch, fingerprint, samples).tolist()) == list(range(samples))


def test_the_order_is_pinned():
    """A change here would change what every run resumes with."""
    assert epoch_order(42, 1, "f", 10).tolist() == PINNED


PINNED = [2, 8, 1, 5, 6, 9, 3, 0, 7, 4]


def test_each_ingredient_changes_the_order():
    orders = [epoch_order(*given, 50).tobytes() for given in ((1, 1, "a"), (2, 1, "a"), (1, 2, "a"), (1, 1, "b"))]
    assert len(set(orders)) == 4


def test_another_process_has_the_same_order():
    code = "from biodist.data.order import epoch_order as order; import sys;"
    code += "sys.stdout.write(str(order(7, 3, 'x', 40).tolist()))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert there == str(epoch_order(7, 3, "x", 40).tolist())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(1, 70))
def test_the_steps_of_an_epoch_take_every_sample_once(samples, batch):
    steps = steps_per_epoch(samples, batch)
    for epoch in (1, 2):
        taken = [
            step_samples(3, "f", samples, batch, step) for step in range((epoch - 1) * steps + 1, epoch * steps + 1)
        ]
        assert {at for at, _ in taken} == {epoch}
        assert np.array_equal(np.concatenate([numbers for _, numbers in taken]), epoch_order(3, epoch, "f", samples))
        assert [len(numbers) for _, numbers in taken[:-1]] == [batch] * (steps - 1)
        assert len(taken[-1][1]) == samples - batch * (steps - 1)


def test_steps_count_from_one_and_the_order_cannot_be_written_to():
    with pytest.raises(ValueError, match="at least 1"):
        step_samples(1, "f", 10, 4, 0)
    with pytest.raises(ValueError, match="read-only"):
        epoch_order(1, 1, "f", 10)[0] = 3
