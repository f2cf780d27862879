"""Errors that mean that there was no memory left, and errors that do not."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys

import pytest
import torch

from biodist.training.shortage import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("NCCL error ... Cuda failure 2 'out of memory'"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_shortage(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Connection closed by peer"),
        RuntimeError("could not create a primitive descriptor for the matmul"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("not enough memory: you tried to allocate"),  # only torch's own word counts
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_shortage(error: Exception) -> None:
    assert not is_out_of_memory(error)


REAL = """
import resource, torch
from biodist.training.shortage import is_out_of_memory
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 2**26, size + 2**26))
for allocate in (lambda: torch.ones(2**28), lambda: bytearray(2**30)):
    try:
        allocate()
    except Exception as error:
        assert is_out_of_memory(error), repr(error)
    else:
        raise SystemExit("the limit does not hold")
"""


def test_what_torch_and_python_really_raise() -> None:
    assert hasattr(resource, "RLIMIT_AS")
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
