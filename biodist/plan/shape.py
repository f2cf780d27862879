"""The shape of an encoder, from its Hugging Face config.json or from a recipe's scratch size; without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from biodist.config.recipe import ScratchSize, TaskName
from biodist.errors import Problem, UserError
from biodist.plan.plan import ModelShape, Padding


@dataclass(frozen=True)
class _Names:
    """What a family calls its sizes in config.json, and how it differs from BERT."""

    hidden: str = "hidden_size"
    layers: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    intermediate: str = "intermediate_size"
    types: bool = True  # has token type embeddings
    positions_reserved: bool = False  # positions start past the padding's own, as in RoBERTa
    embedding: str | None = None  # embeddings of a width of their own, projected to hidden
    narrows: bool = True  # what lies behind a layer's attention can be left to some tokens alone


_BERT = _Names()
_ROBERTA = _Names(positions_reserved=True)
FAMILIES: Mapping[str, _Names] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": _Names(embedding="embedding_size"),
    "distilbert": _Names(
        hidden="dim", layers="n_layers", heads="n_heads", intermediate="hidden_dim", types=False, narrows=False
    ),
}
# What transformers takes where config.json is silent. Sizes that matter more must be there.
DEFAULTS: Mapping[str, int] = {"max_position_embeddings": 512, "type_vocab_size": 2, "embedding_size": 128}
ROBERTA_PADDING = 1
FOLDER_WANTED = "give model.name a Hugging Face folder"
Head = Literal["token", "sequence"]
"""What stands on the encoder: one linear layer on every token; or the family's own sequence head: a layer of the
encoder's width on the first token (BERT's pooler, RoBERTa's and ELECTRA's dense, DistilBERT's pre-classifier), then a
linear one."""


def head_of(task: TaskName) -> Head:
    """The head that a task trains."""
    return "sequence" if task in ("nli", "classification") else "token"


def leaves_by_first_tokens(shape: ModelShape, task: TaskName, padding: Padding) -> bool:
    """Whether each sequence's first token alone leaves the last layer (`biodist.training.first_tokens`)."""
    return padding == "none" and head_of(task) == "sequence" and FAMILIES[shape.family].narrows


@dataclass(frozen=True)
class _Sizes:
    vocabulary: int
    positions: int  # rows of the position embeddings
    types: int
    embedding: int
    hidden: int
    layers: int
    intermediate: int


def scratch_shape(size: ScratchSize, vocab_size: int, labels: int, head: Head = "token") -> ModelShape:
    """The small BERT of `model.init: scratch`, with a head of so many labels."""
    sizes = _Sizes(
        vocab_size, size.max_positions, 2, size.hidden_size, size.hidden_size, size.layers, size.intermediate_size
    )
    return ModelShape(
        family="bert",
        layers=size.layers,
        hidden_size=size.hidden_size,
        heads=size.heads,
        intermediate_size=size.intermediate_size,
        vocab_size=vocab_size,
        max_positions=size.max_positions,
        type_vocab_size=2,
        parameters=_parameters(sizes, labels, head),
        largest_parameters=_largest(sizes),
        layer_parameters=_layer(sizes),
    )


def folder_config(folder: Path) -> object:
    """What the config.json of a local encoder holds.

    Raises:
        UserError: it cannot be read.
    """
    path = folder / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not JSON"
        raise UserError(Problem(str(path), f"cannot be read: {reason}", FOLDER_WANTED)) from None


def folder_shape(folder: Path, labels: int, head: Head = "token") -> ModelShape:
    """The shape of a local encoder.

    Raises:
        UserError: config.json cannot be read, or as `config_shape`.
    """
    return config_shape(folder_config(folder), str(folder / "config.json"), labels, head)


def config_shape(config: object, where: str, labels: int, head: Head = "token") -> ModelShape:
    """The shape that a config.json states, its parameters counted with a head of so many labels.

    Raises:
        UserError: every missing or impossible size, or a family that biodist does not know.
    """
    if not isinstance(config, dict):
        raise UserError(Problem(where, "must be a JSON object", FOLDER_WANTED))
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        what = "has no model_type" if family is None else f"model_type is {family!r}"
        raise UserError(Problem(where, f"{what}, but must be one of {', '.join(FAMILIES)}", "choose another encoder"))
    names = FAMILIES[family]
    reader = _ConfigReader(config, where)
    sizes = _Sizes(
        vocabulary=reader.size("vocab_size"),
        positions=reader.size("max_position_embeddings"),
        types=reader.size("type_vocab_size") if names.types else 0,
        embedding=reader.size(names.embedding or names.hidden),
        hidden=reader.size(names.hidden),
        layers=reader.size(names.layers),
        intermediate=reader.size(names.intermediate),
    )
    heads = reader.size(names.heads)
    reserved = _reserved(config, names)
    if not reader.problems and sizes.hidden % heads:
        reader.refuse(f"{names.hidden} {sizes.hidden} must be a multiple of {names.heads} {heads}")
    if not reader.problems and sizes.positions <= reserved:
        reader.refuse(f"max_position_embeddings {sizes.positions} leaves no room after {reserved} reserved positions")
    if config.get("position_embedding_type", "absolute") not in ("absolute", None):
        reader.refuse(f"position_embedding_type is {config['position_embedding_type']!r}, but must be 'absolute'")
    if reader.problems:
        raise UserError(reader.problems)
    return ModelShape(
        family=family,
        layers=sizes.layers,
        hidden_size=sizes.hidden,
        heads=heads,
        intermediate_size=sizes.intermediate,
        vocab_size=sizes.vocabulary,
        max_positions=sizes.positions - reserved,
        type_vocab_size=sizes.types,
        parameters=_parameters(sizes, labels, head),
        largest_parameters=_largest(sizes),
        layer_parameters=_layer(sizes),
    )


class _ConfigReader:
    """Reads sizes of a config.json and collects what is wrong with them."""

    def __init__(self, config: Mapping[str, Any], where: str):
        self.config = config
        self.where = where
        self.problems: list[Problem] = []

    def size(self, key: str) -> int:
        value = self.config.get(key, DEFAULTS.get(key))
        if type(value) is int and value >= 1:
            return value
        what = f"{key} is missing" if value is None else f"{key} must be a whole number of at least 1, but is {value!r}"
        if all(problem.what != what for problem in self.problems):
            self.refuse(what)
        return 1

    def refuse(self, what: str) -> None:
        self.problems.append(Problem(self.where, what, "take the config.json that came with the weights"))


def _reserved(config: Mapping[str, Any], names: _Names) -> int:
    """Position embeddings that no token can have: RoBERTa counts from past the padding's id."""
    if not names.positions_reserved:
        return 0
    padding = config.get("pad_token_id", ROBERTA_PADDING)
    return (padding if type(padding) is int else ROBERTA_PADDING) + 1


def _layer(sizes: _Sizes) -> int:
    """Query, key, value and output; the feed-forward pair; two norms."""
    hidden, wide = sizes.hidden, sizes.intermediate
    return 4 * (hidden * hidden + hidden) + (hidden * wide + wide) + (wide * hidden + hidden) + 4 * hidden


def _largest(sizes: _Sizes) -> int:
    return max(sizes.vocabulary * sizes.embedding, sizes.hidden * sizes.intermediate)


def _parameters(sizes: _Sizes, labels: int, head: Head) -> int:
    """Embeddings and their norm, a projection where their width differs, layers, the head."""
    hidden = sizes.hidden
    embeddings = (sizes.vocabulary + sizes.positions + sizes.types + 2) * sizes.embedding
    projection = 0 if sizes.embedding == hidden else sizes.embedding * hidden + hidden
    dense = hidden * hidden + hidden if head == "sequence" else 0
    return embeddings + projection + sizes.layers * _layer(sizes) + dense + hidden * labels + labels
