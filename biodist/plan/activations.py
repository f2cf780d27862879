"""Bytes of activations of one micro-batch, by formula: what the backward pass needs, and what it makes on its way.

With hidden width H, feed-forward width I, A heads, T tokens and the sum Q of the squared lengths of the sequences. In
numbers of one layer, unpadded, on a CPU (`biodist.training.block_attention`, `biodist.training.dropout`):

==================================================  ============  =============================
kept for the backward pass                          fp32          autocast
==================================================  ============  =============================
the inputs of both norms                            2 H T fp32    2 H T fp32
the norms' outputs: inputs of the linear layers     2 H T fp32    4 H T low (each layer's own cast)
queries, keys, values in blocks                     3 H T fp32    3 H T fp32
the context                                         1 H T fp32    1 H T low
masks of two dropouts                               2 H T fp32    2 H T low
both sides of the activation function               2 I T fp32    2 I T low
attention's weights, and their dropout's mask       2 A Q fp32    2 A Q fp32
==================================================  ============  =============================

The layer whose backward pass runs needs more: a gradient of one side of the activation function, or, when the
attention is larger than the feed-forward layers, two of its weights and three of its rows, the feed-forward layer's
being gone. Embeddings keep the input of their norm, a mask and the first layer's input.

A padded batch on a CPU goes through torch's own attention: 3 A Q, nothing more while its backward pass runs.

Where a head reads each sequence's first token alone, the last layer of an unpadded row keeps queries, keys, values,
weights and the casts of what they came from, and its backward pass is that of its attention.

These numbers were counted from the allocator's own record of a training step, and agree with resident memory
(`benchmarks/memory.py`). On a GPU attention is torch's own and keeps no weights, and masks take a byte an element:
derived, not measured; `benchmarks/gpu.py` compares it with `max_memory_allocated`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from biodist.plan.plan import ModelShape, Padding, Precision

FP32 = 4  # bytes
LOW = 2  # bytes of a number in bf16 or fp16
MASK = 1  # bytes of an element of torch's own dropout masks on a GPU


@dataclass(frozen=True)
class Micro:
    """The largest micro-batch that a process computes."""

    lengths: tuple[int, ...]  # of its windows, in tokens
    padding: Padding = "none"
    dropout: bool = True  # of hidden states
    attention_dropout: bool = True
    first_tokens: bool = False  # whether they alone leave the last layer

    @property
    def sequences(self) -> Sequence[int]:
        """Lengths as they are computed."""
        return self.lengths if self.padding == "none" else [max(self.lengths, default=0)] * len(self.lengths)


@dataclass(frozen=True)
class Activations:
    """Bytes of one micro-batch."""

    layer: int  # that one layer keeps
    entry: int  # of these its input: all that is kept where activations are computed again
    working: int  # more, in the layer whose backward pass runs
    embedded: int  # that the embeddings keep
    layers: int
    last: int  # that the last layer keeps, and needs more
    last_working: int

    def at_most(self, checkpointing: bool) -> int:
        """At the beginning of the backward pass: in the last layer, or the one before it."""
        return max(self._during(done, checkpointing) for done in range(min(2, self.layers)))

    def after(self, done: int, checkpointing: bool) -> int:
        """When the backward pass of so many layers, counted from the last, is done, and the next one's runs."""
        if done >= self.layers:
            return self.embedded
        return self._during(done, checkpointing) if done else self.at_most(checkpointing)

    @property
    def at_last(self) -> int:
        """Near the end of the backward pass, in the first layer."""
        return self._during(self.layers - 1, checkpointing=False)

    def _during(self, done: int, checkpointing: bool) -> int:
        """In the backward pass of the layer before which so many are done."""
        kept, before = self.entry if checkpointing else self.layer, self.layers - 1 - done
        own = self.layer + self.working if done else self.last + self.last_working
        return before * kept + own + self.embedded


def activations_of(
    shape: ModelShape, micro: Micro, precision: Precision, device: Literal["cpu", "cuda"]
) -> Activations:
    """The bytes of a micro-batch in a model of this shape."""
    tokens, hidden = sum(micro.sequences), FP32 * shape.hidden_size
    low = 1 if precision == "fp32" else LOW / FP32  # of an fp32 number
    mask = low if device == "cpu" else MASK / FP32
    wide = tokens * low * FP32 * shape.intermediate_size
    casts = 2 if precision == "fp32" else 4 * low
    rows = 3 if device == "cpu" else 4 * low  # a GPU's attention keeps its result as well
    if micro.padding == "batch" and device == "cpu" and precision != "fp32":
        rows += low  # torch's attention keeps its result in both
    masks = 2 * mask if micro.dropout else 0
    attention = _attention(shape, micro, device)
    layer = int(tokens * hidden * (2 + casts + rows + low + masks) + 2 * wide + attention.kept)
    working = int(max(wide, attention.working - 2 * wide + 3 * tokens * hidden))
    last, last_working = layer, working
    if micro.first_tokens:
        last = int(tokens * hidden * (rows + (0 if precision == "fp32" else 3 * low)) + attention.kept)
        last_working = attention.working + 3 * tokens * hidden
    return Activations(
        layer=layer,
        entry=tokens * hidden,
        working=working,
        embedded=int(tokens * hidden * (2 + (1 if device == "cpu" else mask) * micro.dropout)),
        layers=shape.layers,
        last=last,
        last_working=last_working,
    )


@dataclass(frozen=True)
class _Attention:
    """Bytes of one layer's scores, weights and masks: one fp32 number each for every head and pair of tokens."""

    kept: int = 0
    working: int = 0


def _attention(shape: ModelShape, micro: Micro, device: Literal["cpu", "cuda"]) -> _Attention:
    """In unpadded rows of a CPU by biodist's own function; else by torch's, which keeps nothing where it is fused: on a
    GPU, and on a CPU without dropout."""
    one = FP32 * shape.heads * sum(length * length for length in micro.sequences)
    if device == "cuda" or (micro.padding == "batch" and not micro.attention_dropout):
        return _Attention()
    if micro.padding == "batch":
        return _Attention(kept=3 * one)  # the weights, the mask, and their product
    return _Attention(kept=one * (2 if micro.attention_dropout else 1), working=2 * one)
