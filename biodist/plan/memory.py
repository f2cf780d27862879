"""Bytes of one process and bytes on disk, by formula.

With P parameters and N processes, all weights and moments fp32:

========  =======  =========  =========  ==========================================================================
strategy  weights  gradients  optimizer  buffers
========  =======  =========  =========  ==========================================================================
ddp       4 P      4 P        8 P        4 P of buckets when N > 1
zero1     4 P      4 P        12 P/N     the bucket and, on GPUs, the copy that is sent; or, if that is more, the own
                                         part of the gradients once more, for the update
zero2     4 P      4 P/N      12 P/N     the same; on CPUs without that second part
zero3     4 P/N    4 P/N      12 P/N     the bucket, two layers' weights, the largest weight while it is reduced; on
                                         one machine's CPUs the bucket and the largest weight's gradient alone
========  =======  =========  =========  ==========================================================================

On one machine's CPUs ZeRO-3's processes read each other's parts of the weights in memory that they share. It counts
once, 4 P/N a process, but all of it is resident in each: ``shared`` is what the others hold of it.

ZeRO updates an fp32 copy of its own part (4 of the 12). Under autocast low-precision copies of the layers' weights
come to the buffers, but under ZeRO-3, which frees them.

Not all of it is there at one time. A step of one micro-batch begins without gradients, which come as activations go;
with several micro-batches they stay from the first one on. ZeRO-3 keeps its part of the gradients between steps. What
gradients are reduced in fills up during the backward pass, at its end with those of the largest weight, the
embeddings: under ZeRO-3 that one is gathered (where weights are), has a gradient, and on GPUs the copy that is sent
beside it.
A bucket that is full before that is sent while most activations are still there.

``offload: cpu`` under ZeRO-2 and ZeRO-3 puts the optimizer's 12 P/N and the gradients' part into the node's memory. On
a CPU that is where they are anyway: nothing is saved, and its buffers come on top.

Checkpoints that are written in the background are copied first: 12 P/N, in the node's memory, from the first save on.

Growth of resident memory up to the first save is all of it but ``process``, what is there before the model is built;
`benchmarks/memory.py` measures it. On a GPU nothing of this module is measured yet: `benchmarks/gpu.py` compares it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from biodist.config.recipe import CheckpointSection
from biodist.plan.activations import FP32, LOW, Activations
from biodist.plan.buckets import SLOT, Buckets
from biodist.plan.plan import DiskPlan, MemoryPlan, ModelShape, Precision, Setting, Strategy

CHECKPOINT_REST = 2**20  # bytes of a manifest and of the processes' random states
VOCABULARY_ENTRY = 32  # bytes of one word piece in tokenizer.json
# What a process has beside all that, measured by `benchmarks/memory.py` on Linux, torch 2.13, deepspeed 0.19.
LIBRARIES = {"cpu": 490 * 10**6, "cuda": 10**9}  # before the model is built; a GPU's context and NCCL: not measured
RUNTIME = 38 * 10**6  # what torch and the matrix libraries keep once a step has run
DEEPSPEED = 48 * 10**6  # what DeepSpeed imports and keeps when its engine starts


@dataclass(frozen=True)
class Site:
    """What of the place counts."""

    device: Literal["cpu", "cuda"]
    world_size: int
    passes: int  # micro-batches that a process computes in one step
    once: bool  # whether every step is sure to be a single one
    background: bool = False  # whether checkpoints are copied, and the copy is written while training goes on
    nodes: int = 1

    @property
    def exchanges(self) -> bool:
        """Whether ZeRO sums and gathers through `biodist.training.exchange`."""
        return self.device == "cpu" and self.world_size > 1

    @property
    def shares_weights(self) -> bool:
        """Whether ZeRO-3's processes read all weights where they lie (`biodist.training.shared_weights`)."""
        return self.exchanges and self.nodes == 1

    @property
    def slots(self) -> int:
        """Bytes of what a process shows the others, and of what it receives between machines."""
        if not self.exchanges:
            return 0
        return FP32 * SLOT * (2 if self.nodes == 1 else 1 + self.world_size)


@dataclass(frozen=True)
class _State:
    """Bytes of what training keeps, by part; as in `MemoryPlan`."""

    weights: int
    gradients: int
    optimizer: int
    buffers: int
    late: int  # of gradients and buffers
    reduced: int  # of the late ones: what is there before the embeddings' gradients are
    first: int = 0  # of the late ones, or beside them: what is there when the first full bucket is sent
    shared: int = 0


def memory_plan(
    shape: ModelShape, setting: Setting, site: Site, precision: Precision, buckets: Buckets, activations: Activations
) -> MemoryPlan:
    """Bytes of one process by part, with these activations."""
    states = {"ddp": _ddp, "zero1": _zero1, "zero2": _zero2, "zero3": _zero3}
    state = states[setting.strategy](shape, site, buckets, setting.offload == "cpu")
    moved = _offloaded(shape, setting, site)
    again = setting.activation_checkpointing
    copied = 3 * _part(shape, site) if site.background else 0
    copies = 0 if precision == "fp32" or setting.strategy == "zero3" else LOW * shape.layers * shape.layer_parameters
    return MemoryPlan(
        parameters=state.weights,
        gradients=state.gradients - moved.gradients,
        optimizer=state.optimizer - moved.optimizer,
        activations=activations.at_most(again),
        buffers=state.buffers + moved.buffers + copies + _runtime(setting.strategy, site),
        process=LIBRARIES[site.device],
        late=max(0, state.late - moved.gradients),
        ending=max(
            state.late - moved.gradients,
            state.reduced - moved.gradients + activations.at_last,
            state.first + activations.after(buckets.reduce // shape.layer_parameters, again),
        ),
        saving=copied if site.device == "cpu" else 0,
        host=moved.host + (copied if site.device == "cuda" else 0),
        shared=state.shared,
        communication=communication(shape, setting, site),
    )


def _ddp(shape: ModelShape, site: Site, buckets: Buckets, offload: bool) -> _State:
    whole = FP32 * shape.parameters
    # With several micro-batches a gradient is whole before it is added to the one that is there.
    late, extra = (whole, 0) if site.once else (0, FP32 * shape.largest_parameters)
    bucket = whole if site.world_size > 1 else 0
    reduced = FP32 * (shape.layers - 1) * shape.layer_parameters if site.once else 0
    return _State(whole, whole, 2 * whole, bucket + extra, late + extra, reduced)


def _zero1(shape: ModelShape, site: Site, buckets: Buckets, offload: bool) -> _State:
    whole, part = FP32 * shape.parameters, _part(shape, site)
    bucket = _bucket(shape, site, buckets)
    reducing = max(bucket + _sent(shape, site, buckets), part)
    late = (whole if site.once else 0) + reducing - bucket + _untouched(bucket, site)
    reduced = FP32 * (shape.layers - 1) * shape.layer_parameters if site.once else 0
    return _State(whole, whole, 3 * part, reducing, late, reduced)


def _zero2(shape: ModelShape, site: Site, buckets: Buckets, offload: bool) -> _State:
    part = _part(shape, site)
    bucket, sent = _bucket(shape, site, buckets), _sent(shape, site, buckets)
    # Summed where they are owned they lie in one piece, there from the first sum on; else they are put into one for the
    # update.
    one_piece = site.exchanges and not offload
    reducing = bucket + sent if one_piece else max(bucket + sent, part)
    late = (part if site.once else 0) + reducing - bucket + _untouched(bucket, site)
    layers = FP32 * (shape.layers - 1) * shape.layer_parameters if site.once else 0
    reduced = min(bucket, layers) + max(0, layers - bucket) // site.world_size
    first = _untouched(bucket, site) + (0 if site.exchanges else bucket) + (part if one_piece and site.once else 0)
    return _State(FP32 * shape.parameters, part, 3 * part, reducing, late, reduced, first)


def _zero3(shape: ModelShape, site: Site, buckets: Buckets, offload: bool) -> _State:
    part, largest = _part(shape, site), FP32 * shape.largest_parameters
    bucket = _bucket(shape, site, buckets)
    gradient = (1 if site.exchanges else 2) * largest  # shown to the others as it is, or in a copy
    if site.shares_weights:
        others = FP32 * shape.parameters - part
        return _State(part, part, 3 * part, bucket + gradient, gradient, reduced=0, first=bucket, shared=others)
    late = largest + gradient  # gathered, and its gradient
    kept = bucket + FP32 * buckets.live
    return _State(part, part, 3 * part, kept + late, late, reduced=0, first=bucket)


def _part(shape: ModelShape, site: Site) -> int:
    """Bytes of one process's part of all weights."""
    return FP32 * -(-shape.parameters // site.world_size)


def _bucket(shape: ModelShape, site: Site, buckets: Buckets) -> int:
    """Bytes of the bucket; on a CPU, where memory is taken when it is written to, as far as it is ever filled."""
    if site.device == "cuda":
        return FP32 * buckets.reduce * (2 if buckets.overlap else 1)
    return FP32 * min(buckets.reduce, max(shape.largest_parameters, shape.layers * shape.layer_parameters))


def _untouched(bucket: int, site: Site) -> int:
    """Bytes of the bucket that are not there before the step's first gradients are written to it."""
    return bucket if site.device == "cpu" and site.once else 0


def _sent(shape: ModelShape, site: Site, buckets: Buckets) -> int:
    """Bytes of the copy that is sent, which shared memory does without; a weight too large for the bucket has its
    gradient twice."""
    if shape.largest_parameters > buckets.reduce:
        return 2 * FP32 * shape.largest_parameters
    if site.exchanges:
        return 0
    return FP32 * min(buckets.reduce, max(shape.largest_parameters, shape.layers * shape.layer_parameters))


@dataclass(frozen=True)
class _Moved:
    """Bytes that leave the device, what stays there for moving them, and what the node's memory takes."""

    gradients: int = 0
    optimizer: int = 0
    buffers: int = 0
    host: int = 0


def _offloaded(shape: ModelShape, setting: Setting, site: Site) -> _Moved:
    """The optimizer and the own part of the gradients go; ZeRO-2 has a buffer for a weight's gradient on both sides and
    one of the weights' part in the node's memory. On a CPU both sides are one, and the buffers are what it costs."""
    if setting.offload == "none":
        return _Moved()
    part, largest = _part(shape, site), FP32 * shape.largest_parameters
    aside = part + (part + largest if setting.strategy == "zero2" else 0)  # gradients; weights and a gradient
    here = largest if setting.strategy == "zero2" else 0
    if site.device == "cpu":
        return _Moved(buffers=aside + here)
    return _Moved(gradients=part, optimizer=3 * part, buffers=here, host=3 * part + aside)


def _runtime(strategy: Strategy, site: Site) -> int:
    """What libraries keep once they have run, what they show each other; of a GPU it is in the node's memory."""
    if site.device == "cuda":
        return 0
    if strategy == "ddp":
        return RUNTIME
    return RUNTIME + DEEPSPEED + site.slots


def communication(shape: ModelShape, setting: Setting, site: Site) -> int:
    """Bytes that one process sends to others in one step, by ring algorithms.

    ddp sums gradients once a step (twice their size); ZeRO-1 and ZeRO-2 sum them likewise, ZeRO-2 in every
    micro-batch, and gather the updated weights; ZeRO-3 gathers the weights for each forward, each backward and each
    recomputation, and scatters the sums. Where weights are shared they are gathered nowhere.
    """
    share = FP32 * shape.parameters * (site.world_size - 1) // site.world_size
    gathers = 0 if site.shares_weights else 3 if setting.activation_checkpointing else 2
    return {
        "ddp": 2 * share,
        "zero1": 3 * share,
        "zero2": (2 * site.passes + 1) * share,
        "zero3": (gathers + 1) * site.passes * share,
    }[setting.strategy]


def disk_plan(shape: ModelShape, checkpoint: CheckpointSection, total_steps: int, best: bool) -> DiskPlan:
    """Bytes on disk. A checkpoint is weights and both moments; ``best``: whether a validation split chooses one."""
    one = 3 * FP32 * shape.parameters + CHECKPOINT_REST
    kept = checkpoint.keep_last + (checkpoint.keep_best if best else 0)
    if checkpoint.keep_every:
        kept += total_steps // checkpoint.keep_every
    model = FP32 * shape.parameters + VOCABULARY_ENTRY * shape.vocab_size
    return DiskPlan(checkpoint=one, retained=(kept + 1) * one, model=model)
