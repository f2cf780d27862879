"""A model with its head from a local folder, refused where the folder lacks what only it can give."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from biodist.errors import Problem, UserError
from biodist.plan.head import matched_head, named_head


def build_head(
    kind: Any, config: PretrainedConfig, weights: str | None, task: str, labels: Sequence[str]
) -> PreTrainedModel:
    """An encoder with the head of ``kind`` (one of transformers' Auto classes), its rows in the order of ``labels``.

    From ``weights``, a local folder, or drawn at random. A folder's trained head is taken over by the names of its
    classes (`biodist.plan.head`); where they are not those of ``labels``, a new one is drawn even if it has as many.

    Raises:
        UserError: the folder lacks a part of the encoder.
    """
    if weights is None:
        fresh: PreTrainedModel = kind.from_config(config, dtype=torch.float32)
        return fresh
    model: PreTrainedModel
    model, found = kind.from_pretrained(
        weights,
        config=config,
        dtype=torch.float32,
        local_files_only=True,
        weights_only=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    refuse_foreign_weights(model, weights, found)
    drawn = {*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])}
    layer = class_layer(model)
    if not drawn & {name for name, weight in model.named_parameters() if weight is layer.weight}:
        _name_rows(layer, Path(weights), task, tuple(labels), config)
    return model


def class_layer(model: PreTrainedModel) -> nn.Linear:
    """The last linear layer of a head: a row for each class.

    Raises:
        UserError: the head has no such layer.
    """
    layers = [module for module in model.get_submodule("classifier").modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1].out_features != model.config.num_labels:
        what = f"{type(model).__name__}'s head is of no kind that is known here"
        raise UserError(Problem("model.name", what, "choose an encoder of another family"))
    return layers[-1]


def refuse_foreign_weights(model: PreTrainedModel, folder: str, found: Mapping[str, Any]) -> None:
    """A new head is drawn at random, its pooler with it; an encoder that would be is refused: its weights are not in
    the folder.

    Raises:
        UserError: naming the folder, how many weights it lacks, and the first.
    """
    encoder, pooler = f"{model.base_model_prefix}.", f"{model.base_model_prefix}.pooler."
    names = {
        "missing": {str(name) for name in found["missing_keys"]},
        "odd": {str(entry[0]) for entry in found["mismatched_keys"]},
    }
    lacking = {
        kind: sorted(name for name in of_kind if name.startswith(encoder) and not name.startswith(pooler))
        for kind, of_kind in names.items()
    }
    missing, odd = lacking["missing"], lacking["odd"]
    if missing or odd:
        what = f"lacks {len(missing)} of the encoder's weights and has {len(odd)} of another shape"
        first = (missing or odd)[0]
        raise UserError(Problem(folder, f"{what}, {first} the first", "name the folder of a whole encoder"))


@torch.no_grad()
def _name_rows(layer: nn.Linear, folder: Path, task: str, labels: tuple[str, ...], config: PretrainedConfig) -> None:
    """Brings rows that were loaded by number under the names of their classes, or draws them anew."""
    rows = matched_head(named_head(json.loads((folder / "config.json").read_text(encoding="utf-8")), task), labels)
    if rows is None:  # they meant other classes, or nobody says which; drawn as the library draws a head
        nn.init.normal_(layer.weight, std=config.initializer_range)
        nn.init.zeros_(layer.bias)
        return
    order = torch.tensor(rows)
    layer.weight.copy_(layer.weight[order])
    layer.bias.copy_(layer.bias[order])
