"""Bytes of one process and bytes on disk, by formula.

With P parameters and N processes, all weights and moments fp32:

===========  ======  ==================  =========  =====================================================
strategy     weights  gradients           optimizer  buffers
===========  ======  ==================  =========  =====================================================
ddp          4 P     4 P                 8 P        4 P of buckets when N > 1, low-precision copies
zero1        4 P     4 P + 4 P/N         12 P/N     reduce buckets, low-precision copies
zero2        4 P     8 P/N               12 P/N     reduce buckets, low-precision copies
zero3        4 P/N   4 P/N               12 P/N     reduce buckets, the weights gathered at one time
===========  ======  ==================  =========  =====================================================

ZeRO updates an fp32 copy of its own part (4 of the 12). ZeRO-2 holds its part of the gradients twice while it
updates. Low-precision copies are autocast's, of the layers' weights.

Activations are what the backward pass needs of the largest micro-batch, and one more layer for what it makes on its
way. For each token and layer, with hidden width H and feed-forward width I: inputs and outputs of two norms (4 H,
fp32); queries, keys, values, the context, two dropout masks (6 H) and both sides of the activation function (2 I), in
the precision of the computation; under autocast the norms' outputs once more in it (2 H). Attention holds its weights
and their dropout mask, fp32, for each head and pair of tokens of one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

from biodist.config.recipe import CheckpointSection
from biodist.plan.buckets import Buckets
from biodist.plan.plan import DiskPlan, MemoryPlan, ModelShape, Padding, Precision, Strategy

FP32 = 4  # bytes
CHECKPOINT_REST = 2**20  # bytes of a manifest and of the processes' random states
VOCABULARY_ENTRY = 32  # bytes of one word piece in tokenizer.json


def memory_plan(
    shape: ModelShape, strategy: Strategy, world_size: int, precision: Precision, buckets: Buckets, activations: int
) -> MemoryPlan:
    """Bytes of one of ``world_size`` processes by part, with so many bytes of activations."""
    whole = FP32 * shape.parameters
    part = FP32 * -(-shape.parameters // world_size)
    copies = 0 if precision == "fp32" else shape.layers * shape.layer_parameters * FP32 // 2
    reducing = FP32 * buckets.reduce * (2 if buckets.overlap else 1)
    weights, gradients, optimizer, buffers = {
        "ddp": (whole, whole, 2 * whole, (whole if world_size > 1 else 0) + copies),
        "zero1": (whole, whole + part, 3 * part, reducing + copies),
        "zero2": (whole, 2 * part, 3 * part, reducing + copies),
        "zero3": (part, part, 3 * part, reducing + FP32 * (buckets.live + shape.largest_parameters)),
    }[strategy]
    return MemoryPlan(
        parameters=weights, gradients=gradients, optimizer=optimizer, activations=activations, buffers=buffers
    )


def activation_bytes(shape: ModelShape, windows: Sequence[int], precision: Precision, padding: Padding) -> int:
    """Bytes that forward and backward of one micro-batch need, for windows of these lengths in tokens."""
    lengths = windows if padding == "none" else [max(windows, default=0)] * len(windows)
    hidden, wide = shape.hidden_size, shape.intermediate_size
    low = FP32 if precision == "fp32" else FP32 // 2
    again = 0 if precision == "fp32" else 2 * hidden
    token = FP32 * 4 * hidden + low * (6 * hidden + 2 * wide + again)
    pairs = 2 * FP32 * shape.heads * sum(length * length for length in lengths)
    embedded = FP32 * 3 * hidden  # the sum of the embeddings, its norm, its dropout mask
    tokens = sum(lengths)
    return (shape.layers + 1) * (token * tokens + pairs) + embedded * tokens


def disk_plan(shape: ModelShape, checkpoint: CheckpointSection, total_steps: int, best: bool) -> DiskPlan:
    """Bytes on disk. A checkpoint is weights and both moments; ``best``: whether a validation split chooses one."""
    one = 3 * FP32 * shape.parameters + CHECKPOINT_REST
    kept = checkpoint.keep_last + (checkpoint.keep_best if best else 0)
    if checkpoint.keep_every:
        kept += total_steps // checkpoint.keep_every
    model = FP32 * shape.parameters + VOCABULARY_ENTRY * shape.vocab_size
    return DiskPlan(checkpoint=one, retained=(kept + 1) * one, model=model)
