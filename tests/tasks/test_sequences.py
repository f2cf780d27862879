"""Classes of texts: a sample counts once however many windows it has, and its windows are pooled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from biodist.tasks.protocol import IGNORED
from biodist.tasks.sequences import ClassSetTask, ClassTask, log_probabilities, pooled, window_weights

pytestmark = pytest.mark.timeout(120)

CLASSES = ("yes", "no", "maybe")
counts_strategy = st.lists(st.integers(1, 5), min_size=1, max_size=8)


def cut(counts: list[int]) -> Any:
    """What of a store tells which windows are whose."""
    return SimpleNamespace(
        samples=len(counts),
        windows=sum(counts),
        first_window=np.cumsum([0, *counts]),
        sample_of=np.repeat(np.arange(len(counts)), counts),
    )


def scores_of(store: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (store.windows, len(CLASSES))).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(counts_strategy)
def test_windows_are_pooled_by_sample(counts: list[int]) -> None:
    store = cut(counts)
    scores = scores_of(store)
    parts = np.split(scores, store.first_window[1:-1])
    np.testing.assert_allclose(pooled(store, scores, "mean"), [part.mean(0) for part in parts], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(pooled(store, scores, "max"), [part.max(0) for part in parts])


def test_pooling_nothing_gives_nothing() -> None:
    for pool in ("mean", "max"):
        assert pooled(cut([]), np.zeros((0, 3), np.float32), pool).shape == (0, 3)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(counts_strategy)
def test_the_loss_bounds_that_of_the_pooled_scores(counts: list[int]) -> None:
    """With the mean as pool, for one class and for sets; and the weights of a sample's windows sum to 1."""
    store = cut(counts)
    weights = window_weights(store, np.arange(store.windows))
    np.testing.assert_allclose(np.add.reduceat(weights, store.first_window[:-1]), 1, rtol=1e-6)
    scores, gold = scores_of(store), np.random.default_rng(1).integers(0, 3, store.samples)
    trained = ClassTask("nli", CLASSES, "mean").loss_sum(
        torch.from_numpy(scores), torch.from_numpy(gold[store.sample_of]), torch.from_numpy(weights)
    )
    together = torch.from_numpy(pooled(store, log_probabilities(scores), "mean"))
    assert nn.functional.cross_entropy(together, torch.from_numpy(gold), reduction="sum") <= trained * (1 + 1e-5)
    sets = np.random.default_rng(2).integers(0, 2, (store.samples, 3))
    trained = ClassSetTask("classification", CLASSES, "mean").loss_sum(
        torch.from_numpy(scores), torch.from_numpy(sets[store.sample_of]), torch.from_numpy(weights)
    )
    pool = torch.from_numpy(pooled(store, scores, "mean"))
    whole = nn.functional.binary_cross_entropy_with_logits(pool, torch.from_numpy(sets).float(), reduction="sum") / 3
    assert whole <= trained * (1 + 1e-5)


def test_log_probabilities_of_large_logits_are_finite() -> None:
    logits = np.array([[1e4, 0, -1e4], [0.1, 0.2, 0.3]], np.float32)
    np.testing.assert_allclose(
        log_probabilities(logits), torch.from_numpy(logits).log_softmax(-1).numpy(), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(("pool", "said"), [("mean", 1), ("max", 0)])
def test_a_prediction_is_that_of_the_pooled_windows(pool: Any, said: int) -> None:
    """Two windows lean to class 1, one is sure of class 0."""
    store = cut([3])
    store.gold = lambda sample: np.array([2], np.int16)
    windows = {0: [0.0, 2.0, 0.0], 1: [0.0, 2.0, 0.0], 2: [3.0, 0.5, 0.0]}
    logits = {number: np.array(row, np.float32) for number, row in windows.items()}
    decoded = ClassTask("classification", CLASSES, pool).decode(store, logits)
    assert decoded.predicted.tolist() == [said] and decoded.gold.tolist() == [2] and not decoded.sets
    sets = ClassSetTask("classification", CLASSES, pool).decode(store, {n: row - 1.4 for n, row in logits.items()})
    assert sets.gold.tolist() == [[0, 0, 1]] and sets.sets
    assert sets.predicted.tolist() == [[0, 1, 0] if pool == "mean" else [1, 1, 0]]


def test_a_set_of_none_is_a_row_of_zeros_and_a_filler_has_no_prediction() -> None:
    store = cut([1, 2])
    store.gold = lambda sample: np.array([[], [0, 2]][sample], np.int16)
    task = ClassSetTask("classification", CLASSES, "mean")
    targets = task.targets(store, np.array([2, 0]))
    assert targets.labels.tolist() == [[1, 0, 1], [0, 0, 0]] and targets.weights.tolist() == [0.5, 1.0]
    labels = torch.tensor([[IGNORED] * 3, [1, 0, 1], [0, 0, 0]])
    logits = torch.arange(9.0).view(3, 3)
    assert [row.tolist() for row in task.predictions(logits, labels, [])] == logits[1:].tolist()
