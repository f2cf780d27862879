"""Every rank computes the same arrangement of a step and takes its own part of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from biodist.data.store import SampleStore
from biodist.plan.plan import Plan
from biodist.training.steps import assign


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("micro_batch", [1, 3, 64])
def test_the_parts_of_all_ranks_are_the_whole_step(
    plans: Callable[..., Plan], world_size: int, micro_batch: int
) -> None:
    plan = plans(world_size, micro_batch=micro_batch)
    store = SampleStore.open(plan.data, "train")
    for step in range(1, 2 * plan.batch.steps_per_epoch + 1):
        parts = [assign(plan, store, step, rank) for rank in range(world_size)]
        whole = parts[0]
        assert all(np.array_equal(part.samples, whole.samples) for part in parts)
        assert {(p.epoch, p.targets, p.tokens, p.most_windows) for p in parts} == {
            (whole.epoch, whole.targets, whole.tokens, whole.most_windows)
        }
        assert len({len(part.micro_batches) for part in parts}) == 1  # or ZeRO-2 and 3 would hang
        real = [m.windows for part in parts for m in part.micro_batches if m.weight]
        windows = np.sort(np.concatenate(real))
        expected = [w for s in whole.samples for w in range(store.first_window[s], store.first_window[s + 1])]
        assert windows.tolist() == sorted(expected)
        assert whole.targets == store.targets[windows].sum()
        assert whole.tokens == store.lengths[windows].sum()
        assert whole.most_windows == max(sum(len(m.windows) for m in part.micro_batches) for part in parts)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_step_has_the_targets_of_its_samples_words(plans: Callable[..., Plan], world_size: int) -> None:
    """A word in two windows counts once."""
    plan = plans(world_size)
    store = SampleStore.open(plan.data, "train")
    epoch = [assign(plan, store, step, 0) for step in range(1, plan.batch.steps_per_epoch + 1)]
    assert [part.targets for part in epoch] == [int(store.words[part.samples].sum()) for part in epoch]
    assert sum(part.targets for part in epoch) == plan.data.splits["train"].targets
    assert len(epoch[-1].samples) == 2
