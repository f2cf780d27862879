"""Entities: one tag a word, scored by whole entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PretrainedConfig

from biodist.data.store import SampleStore
from biodist.tasks.protocol import Decoded

IGNORED = -100  # a position that is no word's first piece, or belongs to another window


class EntityTask:
    """Token classification with BIO tags; a word's first piece carries its tag."""

    def __init__(self, tags: Sequence[str]):
        self.tags = tuple(tags)
        self.types = tuple(tag[2:] for tag in tags if tag.startswith("B-"))

    def build(self, config: PretrainedConfig, weights: str | None) -> nn.Module:
        if weights is None:
            return AutoModelForTokenClassification.from_config(config, dtype=torch.float32)
        model: nn.Module = AutoModelForTokenClassification.from_pretrained(
            weights, config=config, dtype=torch.float32, local_files_only=True, weights_only=True
        )
        return model

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=IGNORED, reduction="sum"
        )

    def predictions(self, logits: Tensor, labels: Tensor) -> np.ndarray:
        targets = labels.reshape(-1) != IGNORED
        chosen = logits.reshape(-1, logits.shape[-1])[targets].argmax(-1)
        array: np.ndarray = chosen.to(torch.int16).cpu().numpy()
        return array

    def decode(self, store: SampleStore, predicted: Mapping[int, np.ndarray]) -> Decoded:
        gold, said = [], []
        for sample in range(store.samples):
            gold.append([self.tags[tag] for tag in store.gold(sample)])
            said.append([self.tags[tag] for tag in self.words(store, sample, predicted)])
        return Decoded(gold, said, self.types)

    def words(self, store: SampleStore, sample: int, predicted: Mapping[int, np.ndarray]) -> np.ndarray:
        """One tag a word of a sample, put together from its windows."""
        tags = np.full(int(store.words[sample]), -1, dtype=np.int16)
        for number in range(int(store.first_window[sample]), int(store.first_window[sample + 1])):
            window = store.window(number)
            tags[window.words[window.labels != IGNORED]] = predicted[number]
        if (tags < 0).any():
            raise AssertionError(f"{store.sample_id(sample)}: a word without a prediction")
        return tags
