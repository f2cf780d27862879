"""The order of samples: one permutation an epoch, a function of seed, epoch and data alone."""

import subprocess
import sys
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.config.recipe import Temperature
from biodist.data.order import corpus_draws, epoch_order, mixed_order, step_samples, steps_per_epoch


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


SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any)


@pytest.mark.parametrize(
    ("sampling", "draws"),
    [
        ("proportional", (6, 1, 0, 4)),
        ("equal", (4, 4, 0, 3)),
        (Temperature(temperature=1), (6, 1, 0, 4)),
        (Temperature(temperature=2), (5, 2, 0, 4)),  # 11 * (2.45, 1, 0, 2) / 5.45 = 4.94, 2.02, 0, 4.04
        (Temperature(temperature=1e9), (4, 4, 0, 3)),
    ],
)
def test_how_often_each_corpus_is_drawn(sampling, draws):
    assert corpus_draws(sampling, (6, 1, 0, 4)) == draws


@pytest.mark.parametrize("temperature", [0.01, 1e-300])
def test_a_temperature_near_nothing_draws_the_largest_corpus_alone(temperature):
    """5000 ^ 100 is more than a number holds."""
    assert corpus_draws(Temperature(temperature=temperature), (3000, 5000)) == (0, 8000)


@settings(max_examples=100, deadline=None)
@given(SIZES, st.one_of(st.just("equal"), st.floats(0.2, 20).map(lambda value: Temperature(temperature=value))))
def test_an_epoch_draws_as_many_as_there_are_samples(sizes, sampling):
    draws = corpus_draws(sampling, sizes)
    assert sum(draws) == sum(sizes)
    assert all(size or not drawn for size, drawn in zip(sizes, draws, strict=True))


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 30))
def test_over_epochs_no_sample_is_ahead_of_another_of_its_corpus_by_more_than_one(sizes, batch):
    total = sum(sizes)
    drawn: Counter[int] = Counter()
    steps = steps_per_epoch(total, batch)
    for step in range(1, 3 * steps + 1):
        epoch, samples = step_samples(5, "f", total, batch, step, sizes, "equal")
        assert epoch == 1 + (step - 1) // steps
        drawn.update(samples.tolist())
    assert drawn.total() == 3 * total
    ends = np.cumsum([0, *sizes])
    draws = corpus_draws("equal", sizes)
    for first, end, count in zip(ends, ends[1:], draws, strict=False):
        times = [drawn[sample] for sample in range(first, end)]
        assert sum(times) == 3 * count and max(times, default=0) - min(times, default=0) <= 1


def test_a_mixed_order_is_pinned_and_a_step_of_it_needs_no_other():
    taken = [step_samples(42, "f", 10, 4, step, (8, 2), "equal")[1].tolist() for step in range(1, 7)]
    assert list(chain(*taken)) == MIXED
    epoch_order.cache_clear()
    mixed_order.cache_clear()
    assert step_samples(42, "f", 10, 4, 5, (8, 2), "equal")[1].tolist() == taken[4]


MIXED = [6, 8, 4, 8, 9, 8, 3, 1, 9, 7, 8, 6, 0, 2, 5, 8, 5, 9, 9, 9]


@pytest.mark.parametrize("sampling", ["proportional", "equal", Temperature(temperature=3)])
def test_one_corpus_and_proportional_ones_keep_the_order_they_had(sampling):
    wanted = step_samples(3, "f", 10, 4, 2)[1].tolist()
    assert step_samples(3, "f", 10, 4, 2, (10,), sampling)[1].tolist() == wanted
    assert step_samples(3, "f", 10, 4, 2, (7, 3))[1].tolist() == wanted


def test_sizes_that_are_not_the_samples_are_refused():
    with pytest.raises(ValueError, match="have 9 samples together, but there are 10"):
        step_samples(3, "f", 10, 4, 2, (7, 2))
