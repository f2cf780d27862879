"""Buffers of a model: tensors of any dtype that are saved as they are, whole."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from xxhash import xxh3_128

from biodist.errors import RunFailed

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The dtypes of a shard, as safetensors calls them."""


def dtype_of(name: str, buffer: Tensor) -> str:
    """The buffer's dtype in safetensors' words.

    Raises:
        RunFailed: a shard cannot hold it.
    """
    if buffer.dtype not in DTYPES:
        raise RunFailed(f"the buffer {name} is {buffer.dtype}; a checkpoint holds {', '.join(DTYPES.values())}")
    return DTYPES[buffer.dtype]


def bytes_of(buffer: Tensor) -> np.ndarray:
    """Its bytes, as they lie in memory when its values are in order."""
    raw: np.ndarray = buffer.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return raw


def digest_of(buffer: Tensor) -> str:
    return xxh3_128(bytes_of(buffer).data).hexdigest()


def fill(buffer: Tensor, raw: np.ndarray) -> None:
    """Sets its values from bytes."""
    if len(raw):  # torch cannot look at no bytes as anything else
        buffer.copy_(torch.from_numpy(raw).view(buffer.dtype).view(buffer.shape))
