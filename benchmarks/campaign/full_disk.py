"""Disks that fill at a stated instant of a save: a small tmpfs (root alone can mount one)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from campaign.traps import Moment

MEGABYTES = 48  # all the plan asks for fits in


@dataclass(frozen=True)
class Filling:
    """When the disk is full, where it is mounted, and what the user must be told."""

    name: str
    moment: Moment
    rank: int
    mounted_on: str  # below the run's folder
    said: tuple[str, ...]


_STAGING = Moment("all ranks", "biodist.checkpoint.saving", "_make_staging")
_SHARD = Moment("one rank", "biodist.checkpoint.saving", "write_shard")

FILLINGS = (
    Filling("checkpoints' disk full for all ranks", _STAGING, 0, "checkpoints", ("No space left", "earlier ones")),
    Filling("checkpoints' disk full for rank 1 alone", _SHARD, 1, "checkpoints", ("No space left", "rank 1:")),
    Filling("run's disk full for all ranks", _STAGING, 0, "", ("No space left",)),
    Filling("run's disk full for rank 1 alone", _SHARD, 1, "", ("No space left",)),
)


@contextmanager
def small_disk(folder: Path, megabytes: int = MEGABYTES) -> Iterator[None]:
    """Mounts one on a folder, for the time of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leaves not one block free; gives the file to remove when room is to be made."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler
