"""What training needs to know of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from biodist.data.store import SampleStore

IGNORED = -100  # the label of what counts in no loss


@dataclass(frozen=True)
class Corpus:
    """One corpus of a split: its samples' numbers, and the entity types it annotates."""

    name: str
    samples: range
    types: tuple[str, ...]


@dataclass(frozen=True)
class Entities:
    """What entity scores compare: tags by sample and word, and the types they are of.

    A prediction of a type that the sample's corpus does not annotate is no error, and is left out (O). ``corpora``
    cover all samples, in order.
    """

    gold: Sequence[Sequence[str]]
    predicted: Sequence[Sequence[str]]
    types: tuple[str, ...]
    corpora: tuple[Corpus, ...] = ()


@dataclass(frozen=True, eq=False)
class Classes:
    """What class scores compare: a class number a sample, int64 (samples,), or a set of classes a sample as a row of
    0 and 1, int64 (samples, classes)."""

    gold: NDArray[np.int64]
    predicted: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def sets(self) -> bool:
        """Whether a sample has a set of classes."""
        return self.gold.ndim == 2


@dataclass(frozen=True, eq=False)
class SequenceTargets:
    """What is to be said of some windows as wholes, in their order.

    ``labels``: int64, a class number (windows,), or a set of classes as a row of 0 and 1 (windows, classes).
    ``weights``: float32 (windows,), what each counts in the loss: 1 / windows of its sample.
    """

    labels: NDArray[np.int64]
    weights: NDArray[np.float32]


class Task(Protocol):
    """The differences between tasks. One object a run; it holds no state of the training."""

    def build(self, config: PretrainedConfig, weights: str | None) -> PreTrainedModel:
        """The encoder with its head: from ``weights`` (a local folder), or from nothing."""

    def targets(self, store: SampleStore, windows: NDArray[np.int64]) -> SequenceTargets | None:
        """What is to be said of these windows as wholes; None where it is said of their tokens, whose labels they
        bring themselves."""

    def loss_sum(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        """Sum (not mean) of the loss over the targets of one batch, fp32.

        Of tokens: logits (rows, tokens, labels), labels (rows, tokens), no weights. Of sequences: logits (sequences,
        classes), labels and weights as in `SequenceTargets`; a sequence of padding has IGNORED and weight 0.
        """

    def predictions(self, logits: Tensor, labels: Tensor, words: Sequence[NDArray[np.int32]]) -> list[np.ndarray]:
        """What the model says of each window, in the batch's order; ``words`` are those that each window owns.

        Of tokens: tag number and probability of each word (`biodist.tasks.joining.SAID`). Of sequences: the window's
        logits, fp32.
        """

    def decode(self, store: SampleStore, predicted: Mapping[int, np.ndarray]) -> Entities | Classes:
        """Truth and prediction of every sample of a split, from each window's predictions (window number -> what
        `predictions` gave for it)."""
