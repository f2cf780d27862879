"""DeepSpeed's CPU collective: compiled by it at first use, about a minute, then cached for the user."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from biodist.errors import MachineCannot

STALE_S = 600.0  # a compilation's lock this old belongs to a process that was killed


def build_collective(say: Callable[[str], None]) -> None:
    """Compiles it unless it is there; one process of a machine at a time. Each process then loads the ready file.

    Raises:
        MachineCannot: there is no C++ compiler, or it failed.
    """
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder
    from torch.utils.cpp_extension import _get_build_directory

    builder = ShareMemCommBuilder()
    folder = Path(_get_build_directory(builder.name, verbose=False))
    ready = folder / f"{builder.name}.so"
    with _alone(folder):
        if not ready.exists():
            compiler = os.environ.get("CXX", "c++")
            if shutil.which(compiler) is None:
                raise MachineCannot(
                    f"ZeRO on a CPU needs DeepSpeed's collective, which is compiled once, and there is no C++ compiler "
                    f"({compiler}): install one (g++), or set distributed.strategy=ddp"
                )
            say("compiling DeepSpeed's CPU collective, once (about a minute)")
            _drop_stale_lock(folder / "lock")
        try:
            builder.load(verbose=False)
        except Exception as error:
            raise MachineCannot(
                f"DeepSpeed's CPU collective could not be compiled in {folder} ({type(error).__name__}: {error}): "
                "mend the compiler, or set distributed.strategy=ddp"
            ) from error


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
    build_collective(lambda line: None)
