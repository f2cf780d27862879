"""Unpadded rows: a batch as one row of real tokens, with attention inside each sequence.

Registered with transformers as an attention function, so that any encoder whose attention goes through it takes
rows. Without a layout (a padded batch) the function is transformers' own `sdpa`: one model takes both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from biodist.tasks.protocol import IGNORED
from biodist.training.batch import collate, forward_kwargs
from biodist.training.block_attention import block_attention
from biodist.training.dropout import use_bit_dropout
from biodist.training.first_tokens import keep_first_tokens
from biodist.training.layout import RowLayout

NAME = "biodist_rows"
STACKS = ("encoder", "transformer")  # what families call the module of all layers


def row_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    row_layout: RowLayout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention signature: (1, heads, tokens, width) in, (1, tokens, heads, width) and None out.

    Raises:
        ValueError: when the layer asks for something a row cannot give: causal order, a window, grouped keys.
    """
    if row_layout is None:
        usual: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return usual
    if getattr(module, "is_causal", False) or kwargs.get("sliding_window") or query.shape != key.shape:
        raise ValueError(f"{type(module).__name__} is causal, windowed or grouped: use train.padding=batch")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (tokens, heads, width)
    attend = block_attention if query.device.type == "cpu" else _accelerator_attention(query, dropout)
    return attend(q, k, v, row_layout, scale, dropout)[None], None


AttentionInterface.register(NAME, row_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)  # with no attention_mask given, none is built


def use_unpadded(model: PreTrainedModel) -> None:
    """Lets the model take unpadded rows, and padded batches as before. Its weights stay as they are.

    Raises:
        ValueError: when the model's attention cannot be replaced (`supports_unpadded` says so beforehand).
    """
    if not supports_unpadded(model):
        raise ValueError(f"{type(model).__name__} cannot take unpadded rows: use train.padding=batch")
    model.set_attn_implementation(NAME)
    use_bit_dropout(model)
    stack = layer_stack(model) if says_sequences(model) else None
    if stack is not None:
        keep_first_tokens(stack)


def supports_unpadded(model: PreTrainedModel) -> bool:
    """Whether the model's shape allows rows: an encoder with absolute positions whose attention goes through
    transformers' interface. `self_check` proves it on numbers."""
    config = model.config
    accepts = inspect.signature(model.forward).parameters
    return (
        model._can_set_attn_implementation()
        and "position_ids" in accepts
        and any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepts.values())
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "is_encoder_decoder", False)
        and not any(getattr(module, "is_causal", False) for module in model.modules())
        and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
        and not getattr(config, "sliding_window", None)
        and not getattr(config, "local_attention", None)
        and (not says_sequences(model) or layer_stack(model) is not None)
    )


def says_sequences(model: PreTrainedModel) -> bool:
    """Whether the model's head says something of whole sequences, as transformers' sequence classifiers do."""
    return type(model).__name__ in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values()


def layer_stack(model: PreTrainedModel) -> nn.Module | None:
    """The module that runs all layers of the encoder, after which come pooler and head; None where there is none of
    a known name."""
    found = (getattr(model.base_model, name, None) for name in STACKS)
    return next((module for module in found if isinstance(module, nn.Module)), None)


def has_token_types(model: PreTrainedModel) -> bool:
    """Whether the model tells the two texts of a pair apart by the types of their tokens."""
    types = getattr(model.config, "type_vocab_size", 0) or 0
    return types > 1 and "token_type_ids" in inspect.signature(model.forward).parameters


def position_offset(model: nn.Module) -> int:
    """Position of a sequence's first token: 0, or past the padding's own position in models of RoBERTa's kind."""
    for module in model.modules():
        if hasattr(module, "create_position_ids_from_input_ids"):
            return int(module.padding_idx) + 1  # type: ignore[arg-type]
    return 0


@torch.no_grad()
def self_check(model: PreTrainedModel) -> float:
    """Largest difference between the logits of two short sequences, padded and unpadded, in eval mode.

    About 1e-6 in fp32; anything near 1e-3 means that the model looks at more than its own sequence.
    Call it after `use_unpadded`. Dropout, the mode and the random state are left as they were.
    """
    vocabulary = int(model.config.get_text_config().vocab_size)
    tokens = (np.arange(12) * 7919 + 5) % vocabulary
    probes = [_Probe(tokens[:7].astype(np.int32)), _Probe(tokens[7:].astype(np.int32))]
    offset, training = position_offset(model), model.training
    device = next(model.parameters()).device
    types = [(np.arange(size) >= size // 2).astype(np.int8) for size in (7, 5)] if has_token_types(model) else None
    model.train(False)
    try:
        logits = []
        for padding in ("batch", "none"):
            batch = collate(
                probes, [0, 1], padding=padding, pad_id=_pad_id(model), position_offset=offset, token_types=types
            )
            out = model(**forward_kwargs(batch.to(device))).logits.float()
            if says_sequences(model):
                logits.append([out[batch.windows.argsort()]])
            else:
                logits.append([out[0, :7], out[1, :5]] if padding == "batch" else [out[0, 5:], out[0, :5]])
    finally:
        model.train(training)
    return max(float((a - b).abs().max()) for a, b in zip(*logits, strict=True))


def _pad_id(model: PreTrainedModel) -> int:
    return int(getattr(model.config, "pad_token_id", 0) or 0)


@dataclass(frozen=True)
class _Probe:
    input_ids: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return np.full(len(self.input_ids), IGNORED, np.int16)


def _accelerator_attention(query: Tensor, dropout: float) -> Callable[..., Tensor]:
    """The fastest way there is: flash-attn, torch's variable-length attention (no dropout), or SDPA in blocks."""
    if query.device.type == "cuda" and query.dtype in (torch.float16, torch.bfloat16):
        if find_spec("flash_attn") is not None:
            return _flash_attention
        if dropout == 0.0 and find_spec("torch.nn.attention.varlen") is not None:
            return _varlen_attention
    return sdpa_blocks


def _flash_attention(q: Tensor, k: Tensor, v: Tensor, layout: RowLayout, scaling: float, dropout: float) -> Tensor:
    from flash_attn import flash_attn_varlen_func

    ends, longest = layout.boundaries, layout.lengths[-1]
    out: Tensor = flash_attn_varlen_func(
        q, k, v, ends, ends, longest, longest, dropout_p=dropout, softmax_scale=scaling
    )
    return out


def _varlen_attention(q: Tensor, k: Tensor, v: Tensor, layout: RowLayout, scaling: float, dropout: float) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    ends, longest = layout.boundaries, layout.lengths[-1]
    out = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scaling)
    assert isinstance(out, Tensor)  # a tuple only when more is asked for
    return out


def sdpa_blocks(q: Tensor, k: Tensor, v: Tensor, layout: RowLayout, scaling: float, dropout: float) -> Tensor:
    """torch's scaled dot product attention in each block: for accelerators, where it has a fast path of its own."""
    heads, width = q.shape[1:]
    padded = [tensor.reshape(len(q), -1).index_select(0, layout.gather) for tensor in (q, k, v)]
    outputs, begin = [], 0
    for block, bias in zip(layout.blocks, layout.bias, strict=True):
        count = block.sequences * block.longest
        shape = (block.sequences, block.longest, heads, width)
        one, two, three = (t[begin : begin + count].view(shape).transpose(1, 2) for t in padded)
        mask = None if bias is None else bias.to(q.dtype).expand(-1, heads, block.longest, -1)
        out = nn.functional.scaled_dot_product_attention(one, two, three, mask, dropout_p=dropout, scale=scaling)
        outputs.append(out.transpose(1, 2).reshape(count, heads * width))
        begin += count
    return torch.cat(outputs).index_select(0, layout.scatter).view(len(q), heads, width)
