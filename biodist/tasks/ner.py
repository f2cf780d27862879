"""Entities: one tag a word, scored by whole entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PretrainedConfig, PreTrainedModel

from biodist.data.store import SampleStore
from biodist.tasks.pretrained import build_head
from biodist.tasks.protocol import IGNORED, Entities


class EntityTask:
    """Token classification with BIO tags; a word's first piece carries its tag."""

    def __init__(self, tags: Sequence[str]):
        self.tags = tuple(tags)
        self.types = tuple(tag[2:] for tag in tags if tag.startswith("B-"))

    def build(self, config: PretrainedConfig, weights: str | None) -> PreTrainedModel:
        return build_head(AutoModelForTokenClassification, config, weights, "ner", self.tags)

    def targets(self, store: SampleStore, windows: NDArray[np.int64]) -> None:
        """None: each token brings its own."""

    def loss_sum(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        return nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=IGNORED, reduction="sum"
        )

    def predictions(self, logits: Tensor, labels: Tensor, targets: Sequence[int]) -> list[np.ndarray]:
        said = logits.reshape(-1, logits.shape[-1])[labels.reshape(-1) != IGNORED].argmax(-1)
        array: np.ndarray = said.to(torch.int16).cpu().numpy()
        return np.split(array, np.cumsum(targets)[:-1])

    def decode(self, store: SampleStore, predicted: Mapping[int, np.ndarray]) -> Entities:
        gold, said = [], []
        for sample in range(store.samples):
            gold.append([self.tags[tag] for tag in store.gold(sample)])
            said.append([self.tags[tag] for tag in self.words(store, sample, predicted)])
        return Entities(gold, said, self.types)

    def words(self, store: SampleStore, sample: int, predicted: Mapping[int, np.ndarray]) -> np.ndarray:
        """One tag a word of a sample, put together from its windows."""
        tags = np.full(int(store.words[sample]), -1, dtype=np.int16)
        for number in range(int(store.first_window[sample]), int(store.first_window[sample + 1])):
            window = store.window(number)
            tags[window.words[window.labels != IGNORED]] = predicted[number]
        if (tags < 0).any():
            raise AssertionError(f"{store.sample_id(sample)}: a word without a prediction")
        return tags
