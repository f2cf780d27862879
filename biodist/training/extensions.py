"""DeepSpeed's native code: compiled by it at first use, about a minute a part, then cached for the user.

``python -m biodist.training.extensions`` compiles all of it beforehand.

It lies where torch keeps such code (``TORCH_EXTENSIONS_DIR``, or the user's cache), in a folder of this environment's
own: another environment's compiler flags would have it compiled anew each time the two take turns. torch marks a
compilation that is under way with a file; a killed process leaves it behind, and everybody would wait for ever. Found
under the lock of this module, it is a dead one's.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biodist.errors import MachineCannot
from biodist.plan.machine import processor_name
from biodist.plan.plan import Plan

DIRECTORY = "TORCH_EXTENSIONS_DIR"  # what torch reads; there is no argument for it


@dataclass(frozen=True)
class Extension:
    """One part of DeepSpeed's native code."""

    builder: str  # its class in deepspeed.ops.op_builder
    name: str
    needed_by: str
    instead: str  # what does without it


COLLECTIVE = Extension("ShareMemCommBuilder", "DeepSpeed's CPU collective", "ZeRO on a CPU", "distributed.strategy=ddp")
CPU_ADAM = Extension(
    "CPUAdamBuilder", "DeepSpeed's CPU optimizer", "distributed.offload=cpu", "distributed.offload=none"
)


def needed(plan: Plan) -> tuple[Extension, ...]:
    """What this plan's training calls."""
    zero_on_cpu = plan.zero_stage and plan.machine.device == "cpu"
    offloaded = plan.zero_stage and plan.recipe.distributed.offload == "cpu"
    return ((COLLECTIVE,) if zero_on_cpu else ()) + ((CPU_ADAM,) if offloaded else ())


def build(extension: Extension, say: Callable[[str], None]) -> None:
    """Compiles it unless it is there; one process of a machine at a time. Each process then loads the ready file.

    Raises:
        MachineCannot: there is no C++ compiler, or it failed.
    """
    builder = _builder(extension)
    with _own_folder(builder.name) as folder, _alone(folder):
        (folder / "lock").unlink(missing_ok=True)  # torch's mark: its process was killed, or it would hold our lock
        if not (folder / f"{builder.name}.so").exists():
            _refuse_no_compiler(extension)
            say(f"compiling {extension.name}, once (about a minute)")
        try:
            builder.load(verbose=False)
        except Exception as error:
            raise MachineCannot(
                f"{extension.name} could not be compiled in {folder} ({type(error).__name__}: {error}): "
                f"mend the compiler, or set {extension.instead}"
            ) from error


def _builder(extension: Extension) -> Any:
    from deepspeed.ops import op_builder

    return getattr(op_builder, extension.builder)()


def _refuse_no_compiler(extension: Extension) -> None:
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise MachineCannot(
            f"{extension.needed_by} needs {extension.name}, which is compiled once, and there is no C++ compiler "
            f"({compiler}): install one (g++), or set {extension.instead}"
        )


@contextmanager
def _own_folder(name: str) -> Iterator[Path]:
    """Where torch compiles the part, for as long as the context lasts."""
    from torch.utils.cpp_extension import _get_build_directory

    given = os.environ.get(DIRECTORY)
    own = Path(_get_build_directory(name, verbose=False)).parent / f"biodist-{_environment()}"
    try:
        os.environ[DIRECTORY] = str(own)
        yield Path(_get_build_directory(name, verbose=False))
    finally:
        if given is None:
            del os.environ[DIRECTORY]
        else:
            os.environ[DIRECTORY] = given


def _environment() -> str:
    """Short and different for every Python environment, its torch and DeepSpeed, and kind of processor: the code is
    compiled for the one it is compiled on, and login nodes and compute nodes may share a home and differ in that."""
    import deepspeed
    import torch

    identity = "\n".join((sys.prefix, sys.version, torch.__version__, deepspeed.__version__, processor_name()))
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "biodist.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        for part in (COLLECTIVE, CPU_ADAM):
            build(part, lambda line: print(line, flush=True))  # noqa: T201
    except MachineCannot as error:
        sys.exit(str(error))
