"""What training needs to know of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from biodist.data.store import SampleStore


@dataclass(frozen=True)
class Decoded:
    """What a metric compares: tags by sample and word, and the types or classes they are of."""

    gold: Sequence[Sequence[str]]
    predicted: Sequence[Sequence[str]]
    types: tuple[str, ...]


class Task(Protocol):
    """The differences between tasks. One object a run; it holds no state of the training."""

    def build(self, config: PretrainedConfig, weights: str | None) -> PreTrainedModel:
        """The encoder with its head: from ``weights`` (a local folder), or from nothing."""

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum (not mean) of the loss over the targets of one batch; logits (rows, tokens, labels) in fp32."""

    def predictions(self, logits: Tensor, labels: Tensor) -> np.ndarray:
        """What the model says at each target, in order, as one flat int16 array."""

    def decode(self, store: SampleStore, predicted: Mapping[int, np.ndarray]) -> Decoded:
        """Truth and prediction of every sample of a split, from each window's predictions (window number -> what
        `predictions` gave for it)."""
