"""Entities: one tag a word, scored by whole entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PretrainedConfig, PreTrainedModel

from biodist.data.store import SampleStore
from biodist.errors import Problem, UserError
from biodist.tasks.protocol import Decoded

IGNORED = -100  # a position that is no word's first piece, or belongs to another window


def refuse_foreign_weights(model: PreTrainedModel, folder: str, found: Mapping[str, Any]) -> None:
    """A new head is drawn at random; an encoder that would be is refused: its weights are not in the folder.

    Raises:
        UserError: naming the folder, how many weights it lacks, and the first.
    """
    encoder = f"{model.base_model_prefix}."
    missing = sorted(name for name in found["missing_keys"] if name.startswith(encoder))
    odd = sorted(str(entry[0]) for entry in found["mismatched_keys"] if str(entry[0]).startswith(encoder))
    if missing or odd:
        what = f"lacks {len(missing)} of the encoder's weights and has {len(odd)} of another shape"
        first = (missing or odd)[0]
        raise UserError(Problem(folder, f"{what}, {first} the first", "name the folder of a whole encoder"))


class EntityTask:
    """Token classification with BIO tags; a word's first piece carries its tag."""

    def __init__(self, tags: Sequence[str]):
        self.tags = tuple(tags)
        self.types = tuple(tag[2:] for tag in tags if tag.startswith("B-"))

    def build(self, config: PretrainedConfig, weights: str | None) -> PreTrainedModel:
        if weights is None:
            fresh: PreTrainedModel = AutoModelForTokenClassification.from_config(  # type: ignore[no-untyped-call]
                config, dtype=torch.float32
            )
            return fresh
        model: PreTrainedModel
        model, found = AutoModelForTokenClassification.from_pretrained(
            weights,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        refuse_foreign_weights(model, weights, found)
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
