"""Windows of one global batch over ranks and micro-batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.data.arrangement import arrange
from biodist.data.order import step_samples

BATCH = st.lists(st.integers(3, 512), min_size=1, max_size=80)


@settings(max_examples=400, deadline=None)
@given(BATCH, st.integers(1, 9), st.integers(1, 20))
def test_every_window_once_and_ranks_in_step(lengths, world_size, micro_batch):
    windows = np.arange(len(lengths)) * 3 + 100
    ranks = arrange(windows, lengths, world_size, micro_batch)
    assert len(ranks) == world_size
    assert {len(rank) for rank in ranks} == {-(-len(lengths) // (world_size * micro_batch))}
    real = [batch for rank in ranks for batch in rank if batch.weight == 1.0]
    assert sorted(number for batch in real for number in batch.windows) == windows.tolist()
    assert all(1 <= len(batch.windows) <= micro_batch for rank in ranks for batch in rank)
    shortest = {int(number) for number, length in zip(windows, lengths, strict=True) if length == min(lengths)}
    fillers = [batch for rank in ranks for batch in rank if batch.weight != 1.0]
    assert all(batch.weight == 0.0 and len(batch.windows) == 1 for batch in fillers)
    assert all(int(batch.windows[0]) in shortest for batch in fillers)


@settings(max_examples=100, deadline=None)
@given(BATCH, st.integers(1, 6), st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_order_in_which_windows_are_given_does_not_matter(lengths, world_size, micro_batch, random):
    windows = list(range(len(lengths)))
    shuffled = random.sample(windows, len(windows))

    def layout(numbers):
        ranks = arrange(numbers, [lengths[number] for number in numbers], world_size, micro_batch)
        return [[(batch.windows.tolist(), batch.weight) for batch in rank] for rank in ranks]

    assert layout(windows) == layout(shuffled)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(3, 512), min_size=40, max_size=80), st.integers(2, 4))
def test_ranks_finish_together(lengths, world_size):
    """No rank carries more than the fairest share and one longest window."""
    windows = np.arange(len(lengths))
    ranks = arrange(windows, lengths, world_size, len(lengths))
    loads = [
        sum(lengths[number] * (3000 + lengths[number]) for batch in rank for number in batch.windows) for rank in ranks
    ]
    assert max(loads) <= sum(loads) / world_size + max(lengths) * (3000 + max(lengths))


def test_micro_batches_of_a_rank_are_sorted_and_even():
    (rank,) = arrange(range(8), [100, 10, 10, 10, 10, 10, 10, 100], 1, 6)
    assert [batch.windows.tolist() for batch in rank] == [[0, 7], [1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_the_samples_of_a_step_do_not_depend_on_the_world_size(world_size):
    _, samples = step_samples(42, "fingerprint", 103, 16, 7)
    ranks = arrange(samples, samples % 50 + 3, world_size, 4)
    assert sorted(n for rank in ranks for batch in rank if batch.weight for n in batch.windows) == sorted(samples)


def test_sizes_that_make_no_sense():
    for sizes in (([], [], 1, 1), ([1], [1, 2], 1, 1), ([1], [1], 0, 1), ([1], [1], 1, 0)):
        with pytest.raises(ValueError, match="cannot be laid out"):
            arrange(*sizes)
