"""One recipe, index, encoder and machine that the tests of plans share, each changed where a test needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from biodist.config.recipe import Recipe
from biodist.plan.index import DataIndex, SplitIndex
from biodist.plan.machine import Gpu, Machine
from biodist.plan.plan import ModelPlan
from biodist.plan.shape import config_shape

BERT_TINY = {
    "model_type": "bert",
    "vocab_size": 1000,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}


def split(samples: int, lengths: dict[int, int]) -> SplitIndex:
    windows = sum(lengths.values())
    tokens = sum(length * count for length, count in lengths.items())
    return SplitIndex(
        samples=samples,
        windows=windows,
        tokens=tokens,
        targets=tokens // 2,
        lengths=lengths,
        types={"Disease": samples},
    )


@pytest.fixture
def recipe_of() -> Callable[..., Recipe]:
    """A recipe, with sections given by name taking the place of single keys: ``recipe_of(train={"epochs": 2})``."""

    def build(**sections: dict[str, Any]) -> Recipe:
        values: dict[str, Any] = {
            "name": "tiny",
            "task": "ner",
            "model": {"name": "/models/tiny"},
            "data": {
                "labels": ["Disease"],
                "max_length": 128,
                "train": [{"path": "/data/train.tsv"}],
                "validation": [{"path": "/data/devel.tsv"}],
            },
            "train": {"epochs": 3, "global_batch": 32},
        }
        for name, changes in sections.items():
            values[name] = {**values.get(name, {}), **changes}
        return Recipe.model_validate(values)

    return build


@pytest.fixture
def index() -> DataIndex:
    return DataIndex(
        fingerprint="0" * 64,
        store="/cache/data/" + "0" * 64,
        tokenizer="/cache/data/" + "0" * 64 + "/tokenizer",
        labels=("O", "B-Disease", "I-Disease"),
        vocab_size=1000,
        splits={"train": split(1000, {20: 600, 40: 300, 120: 100}), "validation": split(100, {30: 100})},
    )


@pytest.fixture
def model() -> ModelPlan:
    return ModelPlan(folder="/models/tiny", shape=config_shape(BERT_TINY, "config.json", labels=3))


@pytest.fixture
def laptop() -> Machine:
    return Machine(host="laptop", processor="A processor", cores=4, memory=16 * 10**9)


@pytest.fixture
def gpu_node() -> Machine:
    gpus = tuple(
        Gpu(index=i, uuid=f"GPU-{i}", name="NVIDIA H100", memory=80 * 10**9, compute_capability=9.0) for i in range(4)
    )
    return Machine(host="node", processor="A processor", cores=64, memory=512 * 10**9, gpus=gpus)
