"""Shapes are exact: parameters equal those of the real model that transformers builds from the same config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from biodist.config.recipe import ScratchSize
from biodist.errors import UserError
from biodist.plan.shape import FAMILIES, Head, config_shape, folder_shape, head_of, scratch_shape

COMMON: dict[str, Any] = {
    "vocab_size": 211,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 90,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {**COMMON, "type_vocab_size": 2},
    "roberta": {**COMMON, "type_vocab_size": 1},
    "xlm-roberta": {**COMMON, "type_vocab_size": 1},
    "camembert": {**COMMON, "type_vocab_size": 1},
    "electra": {**COMMON, "embedding_size": 16},
    "distilbert": {
        "vocab_size": 211,
        "dim": 24,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 56,
        "max_position_embeddings": 90,
    },
}


def real_model(family: str, values: dict[str, Any], labels: int, head: Head = "token") -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

    kind = {"token": AutoModelForTokenClassification, "sequence": AutoModelForSequenceClassification}[head]
    return kind.from_config(AutoConfig.for_model(family, num_labels=labels, **values))


def test_every_family_is_compared() -> None:
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("labels", [3, 9])
@pytest.mark.parametrize("head", get_args(Head))
def test_parameters_equal_the_real_models(family: str, labels: int, head: Head) -> None:
    model = real_model(family, CONFIGS[family], labels, head)
    shape = config_shape(model.config.to_dict(), "config.json", labels, head)
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    assert shape.largest_parameters == max(weight.numel() for weight in model.parameters())
    layers = next(module for module in model.modules() if type(module).__name__ == "ModuleList")
    assert len(layers) == shape.layers
    assert shape.layer_parameters == sum(weight.numel() for weight in layers[0].parameters())


def test_electra_of_one_width_has_no_projection() -> None:
    values = {**COMMON, "embedding_size": COMMON["hidden_size"]}
    model = real_model("electra", values, 3)
    assert config_shape({"model_type": "electra", **values}, "", 3).parameters == model.num_parameters()


@pytest.mark.parametrize("family", CONFIGS)
def test_longest_sequence_is_the_real_models(family: str) -> None:
    """The longest row passes through the real model; one token more does not."""
    import torch

    model = real_model(family, CONFIGS[family], 3).eval()
    longest = config_shape({"model_type": family, **CONFIGS[family]}, "", 3).max_positions
    with torch.no_grad():
        model(input_ids=torch.full((1, longest), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, longest + 1), 5))


def test_scratch_equals_the_real_model() -> None:
    from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

    size = ScratchSize(layers=2, hidden_size=32, heads=4, intermediate_size=48, max_positions=64)
    shape = scratch_shape(size, vocab_size=333, labels=5)
    config = BertConfig(
        vocab_size=333,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        num_labels=5,
    )
    assert shape.parameters == BertForTokenClassification(config).num_parameters()
    sequences = scratch_shape(size, vocab_size=333, labels=5, head="sequence")
    assert sequences.parameters == BertForSequenceClassification(config).num_parameters()
    assert (shape.vocab_size, shape.max_positions) == (333, 64)


def test_pairs_and_texts_are_labelled_as_a_whole() -> None:
    assert [head_of(task) for task in ("ner", "nli", "classification")] == ["token", "sequence", "sequence"]


def test_every_problem_of_a_config_at_once() -> None:
    config = {
        "model_type": "bert",
        "hidden_size": "64",
        "num_hidden_layers": 0,
        "position_embedding_type": "relative_key",
    }
    with pytest.raises(UserError) as caught:
        config_shape(config, "m/config.json", 3)
    said = str(caught.value)
    assert all(problem.where == "m/config.json" and problem.do for problem in caught.value.problems)
    assert "vocab_size is missing" in said
    assert "num_attention_heads is missing" in said
    assert "hidden_size must be a whole number of at least 1, but is '64'" in said
    assert "num_hidden_layers must be a whole number of at least 1, but is 0" in said
    assert "position_embedding_type is 'relative_key'" in said
    assert len(caught.value.problems) == 6


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UserError, match="hidden_size 24 must be a multiple of num_attention_heads 5"):
        config_shape({"model_type": "bert", **COMMON, "num_attention_heads": 5}, "", 3)


@pytest.mark.parametrize("config", [{"model_type": "llama"}, {}, {"model_type": 3}, [], "text", None])
def test_unknown_families_are_refused(config: object) -> None:
    with pytest.raises(UserError) as caught:
        config_shape(config, "config.json", 3)
    assert caught.value.problems[0].do


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"{not json"])
def test_unreadable_config_names_the_file(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        folder_shape(tmp_path, 3)
    assert caught.value.problems[0].where == str(tmp_path / "config.json")


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **COMMON}))
    assert folder_shape(tmp_path, 3) == config_shape({"model_type": "bert", **COMMON}, "", 3)
