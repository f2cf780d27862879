"""Texts and pairs of texts: one class a sample, or a set of them; a long text is several windows, pooled.

Each window is trained on its sample's own classes with the weight 1 / windows of the sample. The loss is convex in the
scores, so the mean over the windows bounds the loss of the windows' mean score (`data.pool: mean`) from above; and no
window has to be in the micro-batch, or on the rank, of its sample's others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from biodist.data.store import SampleStore
from biodist.tasks.pretrained import build_head
from biodist.tasks.protocol import IGNORED, Classes, SequenceTargets

Pool = Literal["mean", "max"]


class ClassTask:
    """One of ``classes`` for every sample: cross entropy, the class of the highest pooled log-probability."""

    def __init__(self, task: str, classes: Sequence[str], pool: Pool):
        self.task, self.classes, self.pool = task, tuple(classes), pool

    def build(self, config: PretrainedConfig, weights: str | None) -> PreTrainedModel:
        return build_head(AutoModelForSequenceClassification, config, weights, self.task, self.classes)

    def targets(self, store: SampleStore, windows: NDArray[np.int64]) -> SequenceTargets:
        labels = np.array([store.gold(int(sample))[0] for sample in store.sample_of[windows]], np.int64)
        return SequenceTargets(labels, window_weights(store, windows))

    def loss_sum(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        assert weights is not None
        losses = nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
        return (losses * weights).sum()

    def predictions(self, logits: Tensor, labels: Tensor, words: Sequence[NDArray[np.int32]]) -> list[np.ndarray]:
        return list(logits[labels != IGNORED].float().cpu().numpy())

    def decode(self, store: SampleStore, predicted: Mapping[int, np.ndarray]) -> Classes:
        gold = np.array([store.gold(sample)[0] for sample in range(store.samples)], np.int64)
        scores = pooled(store, log_probabilities(by_window(store, predicted, len(self.classes))), self.pool)
        return Classes(gold, scores.argmax(-1), self.classes)


class ClassSetTask:
    """None, one or several of ``classes`` for every sample: binary cross entropy, the mean over classes; the classes
    whose pooled logit is above 0."""

    def __init__(self, task: str, classes: Sequence[str], pool: Pool):
        self.task, self.classes, self.pool = task, tuple(classes), pool

    def build(self, config: PretrainedConfig, weights: str | None) -> PreTrainedModel:
        return build_head(AutoModelForSequenceClassification, config, weights, self.task, self.classes)

    def targets(self, store: SampleStore, windows: NDArray[np.int64]) -> SequenceTargets:
        return SequenceTargets(self._rows(store, store.sample_of[windows]), window_weights(store, windows))

    def loss_sum(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        assert weights is not None
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
        return (losses.mean(-1) * weights).sum()

    def predictions(self, logits: Tensor, labels: Tensor, words: Sequence[NDArray[np.int32]]) -> list[np.ndarray]:
        return list(logits[labels[:, 0] != IGNORED].float().cpu().numpy())

    def decode(self, store: SampleStore, predicted: Mapping[int, np.ndarray]) -> Classes:
        gold = self._rows(store, np.arange(store.samples))
        scores = pooled(store, by_window(store, predicted, len(self.classes)), self.pool)
        return Classes(gold, (scores > 0).astype(np.int64), self.classes)

    def _rows(self, store: SampleStore, samples: NDArray[np.integer]) -> NDArray[np.int64]:
        """A row of 0 and 1 a sample."""
        rows = np.zeros((len(samples), len(self.classes)), np.int64)
        for row, sample in zip(rows, samples, strict=True):
            row[store.gold(int(sample))] = 1
        return rows


def window_weights(store: SampleStore, windows: NDArray[np.int64]) -> NDArray[np.float32]:
    """1 / windows of each window's sample: a sample counts once, however long it is."""
    counts = np.diff(store.first_window)[store.sample_of[windows]]
    weights: NDArray[np.float32] = (1 / counts).astype(np.float32)
    return weights


def by_window(store: SampleStore, predicted: Mapping[int, np.ndarray], classes: int) -> NDArray[np.float32]:
    """The logits of every window of a split, (windows, classes)."""
    logits = np.zeros((store.windows, classes), np.float32)
    for number in range(store.windows):
        logits[number] = predicted[number]
    return logits


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of logits (windows, classes)."""
    shifted = logits - logits.max(-1, keepdims=True)
    result: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def pooled(store: SampleStore, scores: NDArray[np.float32], pool: Pool) -> NDArray[np.float32]:
    """One row of scores a sample out of one a window: their mean, or their largest by class."""
    if not store.samples:
        return np.zeros((0, scores.shape[-1]), np.float32)
    first = store.first_window[:-1]
    if pool == "max":
        largest: NDArray[np.float32] = np.maximum.reduceat(scores, first, axis=0)
        return largest
    mean: NDArray[np.float32] = np.add.reduceat(scores, first, axis=0)
    mean /= np.diff(store.first_window)[:, None]
    return mean
