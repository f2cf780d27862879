"""Every rank computes the same arrangement of a step and takes its own part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from biodist.config.recipe import Recipe
from biodist.data.indexing import build_index
from biodist.data.store import SampleStore
from biodist.plan.index import DataIndex
from biodist.plan.plan import Plan
from biodist.training.steps import assign, reached_ids


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


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, DataIndex]:
    """A corpus of two sentences beside one of forty; long ones have several windows."""
    folder = tmp_path_factory.mktemp("uneven")
    for name, sentences in (("small", 2), ("large", 40)):
        words = "".join(
            f"{name}{number}\tO\n" + "word\tO\n" * (30 if number % 2 else 3) + "\n" for number in range(sentences)
        )
        (folder / f"{name}.tsv").write_text(words)
    files = [{"path": str(folder / f"{name}.tsv")} for name in ("small", "large")]
    data = {"labels": ["Disease"], "max_length": 16, "stride": 2, "sampling": "equal", "train": files}
    model = {"init": "scratch", "scratch": {"vocab_size": 120}}
    train = {"epochs": 2, "global_batch": 12}
    given = {"name": "x", "task": "ner", "model": model, "data": data, "train": train}
    recipe = Recipe.model_validate(given)
    return recipe, build_index(recipe, None, folder / "cache")


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_sample_that_is_drawn_twice_in_a_step_reaches_it_twice(
    plans: Callable[..., Plan], uneven: tuple[Recipe, DataIndex], world_size: int
) -> None:
    recipe, index = uneven
    plan = plans(world_size, micro_batch=5).model_copy(update={"recipe": recipe, "data": index})
    store = SampleStore.open(index, "train")
    drawn: Counter[str] = Counter()
    for step in range(1, 9):
        parts = [assign(plan, store, step, rank) for rank in range(world_size)]
        windows = np.concatenate([m.windows for part in parts for m in part.micro_batches if m.weight])
        reached = reached_ids(store, windows)
        assert sorted(reached) == sorted(store.sample_id(int(sample)) for sample in parts[0].samples)
        assert parts[0].targets == store.targets[windows].sum()
        drawn.update(reached)
    small = {name: count for name, count in drawn.items() if name.startswith("small")}
    assert drawn.total() == 2 * 42 and sum(small.values()) == 42 and set(small.values()) == {21}
