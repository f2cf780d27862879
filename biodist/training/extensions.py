"""DeepSpeed's native code: compiled by it at first use, about a minute a part, then cached for the user.

``python -m biodist.training.extensions`` compiles all of it beforehand.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biodist.errors import MachineCannot
from biodist.plan.plan import Plan

STALE_S = 600.0  # a compilation's lock this old belongs to a process that was killed


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
    from torch.utils.cpp_extension import _get_build_directory

    builder = _builder(extension)
    folder = Path(_get_build_directory(builder.name, verbose=False))
    with _alone(folder):
        if not (folder / f"{builder.name}.so").exists():
            _refuse_no_compiler(extension)
            say(f"compiling {extension.name}, once (about a minute)")
            _drop_stale_lock(folder / "lock")
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
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "biodist.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _drop_stale_lock(lock: Path) -> None:
    """torch marks a compilation by a file that a killed process leaves behind; everybody would wait for it for ever."""
    try:
        if time.time() - lock.stat().st_mtime > STALE_S:
            lock.unlink()
    except FileNotFoundError:
        pass


if __name__ == "__main__":
    try:
        for part in (COLLECTIVE, CPU_ADAM):
            build(part, lambda line: print(line, flush=True))  # noqa: T201
    except MachineCannot as error:
        sys.exit(str(error))
