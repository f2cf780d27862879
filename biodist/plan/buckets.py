"""How many elements ZeRO moves at one time: from the encoder's shape, so that small models get small buffers."""

from __future__ import annotations

from typing import Literal

from biodist.config.recipe import Section
from biodist.plan.plan import ModelShape

CPU_BUCKET = 2**24  # elements, at most
CUDA_BUCKET = 5 * 10**7  # elements: 200 MB
# Elements that a process shows the others at one time on CPUs (`biodist.training.exchange`): few enough to
# stay in the processor's caches.
SLOT = 2**20
ALIGNMENT = 16  # elements; DeepSpeed refuses buckets that are no multiple of its own alignment


class Buckets(Section):
    """Sizes in elements."""

    reduce: int  # gradients reduced at one time
    gather: int  # weights gathered at one time
    prefetch: int  # ZeRO-3: weights fetched ahead of their use
    persistent: int  # ZeRO-3: smaller weights (biases, norms) stay whole everywhere
    live: int  # ZeRO-3: weights that may be whole at one time, the largest one apart
    reuse: int  # ZeRO-3: weights used again this soon are not freed
    overlap: bool  # whether gradients travel while the backward pass goes on


def buckets_of(shape: ModelShape, device: Literal["cpu", "cuda"]) -> Buckets:
    """Sizes for this shape: a bucket is never larger than the model, but for its alignment."""
    most = min(CPU_BUCKET if device == "cpu" else CUDA_BUCKET, shape.parameters)
    layer = min(shape.layer_parameters, most)
    # On a CPU a bucket is a layer, in which every process has its part to add (`biodist.training.zero_exchange`).
    reduce = layer if device == "cpu" else most
    return Buckets(
        reduce=_aligned(reduce),
        gather=_aligned(most),
        prefetch=layer,
        persistent=min(10 * shape.hidden_size, shape.parameters),
        live=2 * shape.layer_parameters,
        reuse=layer,
        overlap=device == "cuda",
    )


def _aligned(elements: int) -> int:
    return elements + -elements % ALIGNMENT
