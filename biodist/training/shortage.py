"""Whether an error means that there was no memory left."""

from __future__ import annotations

import errno

# torch gives most of these as a plain RuntimeError. From its CPU and CUDA allocators, cuBLAS, NCCL, and C++ itself.
WORDS = (
    "can't allocate memory",
    "not enough memory: you tried to allocate",
    "cannot allocate memory",
    "cuda error: out of memory",
    "cuda out of memory",
    "cublas_status_alloc_failed",
    "cuda failure 'out of memory'",
    "cuda failure 2 'out of memory'",
    "std::bad_alloc",
)
# oneDNN keeps its status to itself. Seen where there was no room for its code or its scratchpad; what it does not
# support it says of a "primitive descriptor".
ENDINGS = ("could not create a primitive", "could not execute a primitive", "could not create a memory object")


def is_out_of_memory(error: BaseException) -> bool:
    """By its type (`MemoryError`, `torch.OutOfMemoryError`, an OSError with ENOMEM), or by what torch says."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower()
    return isinstance(error, RuntimeError) and (any(words in said for words in WORDS) or said.endswith(ENDINGS))
