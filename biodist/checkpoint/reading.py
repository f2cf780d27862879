"""Reading a checkpoint: proving it, and giving any range of any parameter."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from biodist.checkpoint.manifest import NAME, Manifest, Piece, buffer_name, read_manifest, tensor_name
from biodist.checkpoint.shards import ITEM_BYTES, READ_BYTES, Shard, file_digest

PREFIX = "step-"


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint: its folder and its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def step(self) -> int:
        return self.manifest.step

    def read(self, part: str, name: str, start: int, stop: int) -> Iterator[np.ndarray]:
        """Elements ``start`` to ``stop`` of ``part`` (weight, exp_avg, exp_avg_sq) of a parameter, in order."""
        for piece in sorted(self.manifest.parameters[name].pieces, key=lambda piece: piece.start):
            low, high = max(start, piece.start), min(stop, piece.start + piece.count)
            yield from self._read_piece(part, name, piece, low, high)

    def read_buffer(self, name: str) -> np.ndarray:
        """The bytes of a buffer."""
        buffer = self.manifest.buffers[name]
        count = ITEM_BYTES[buffer.dtype] * math.prod(buffer.shape)
        return self.shard(buffer.file).read(buffer_name(name), 0, count, "u1")

    def _read_piece(self, part: str, name: str, piece: Piece, low: int, high: int) -> Iterator[np.ndarray]:
        tensor, step = tensor_name(part, name, piece.start), READ_BYTES // 4
        for at in range(low, high, step):
            end = min(at + step, high)
            yield self.shard(piece.file).read(tensor, at - piece.start, end - piece.start)

    def shard(self, file: str) -> Shard:
        """One of its files. Raises OSError, or RunFailed where it is no shard."""
        if file not in self._shards:
            self._shards[file] = Shard.open(self.folder / file)
        return self._shards[file]

    @cached_property
    def _shards(self) -> dict[str, Shard]:
        """Headers read so far: there are ranges by the thousand."""
        return {}

    def weights_sha256(self) -> str:
        """The contract's digest of the weights: name, a zero byte, shape, little-endian fp32 bytes, names in order.

        The shape is written as its sizes in decimal, joined by commas, ended by a zero byte.
        """
        digest = hashlib.sha256()
        for name, parameter in sorted(self.manifest.parameters.items()):
            digest.update(name.encode() + b"\0" + ",".join(map(str, parameter.shape)).encode() + b"\0")
            for chunk in self.read("weight", name, 0, parameter.count):
                digest.update(np.ascontiguousarray(chunk, dtype="<f4").tobytes())
        return digest.hexdigest()


def problems_of(folder: Path, only: slice = slice(None)) -> list[str]:
    """What is wrong with a checkpoint folder; empty when it verifies. ``only`` picks some of its files, in order."""
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{folder.name}: no readable MANIFEST.json"]
    found = manifest_problems(folder, manifest)
    for name, expected in sorted(manifest.files.items())[only]:
        try:
            actual = file_digest(folder / name)
        except OSError as error:
            found.append(f"{folder.name}/{name}: {error.strerror}")
            continue
        if actual.bytes != expected.bytes:
            found.append(f"{folder.name}/{name}: {actual.bytes} bytes, the manifest says {expected.bytes}")
        elif actual.sha256 != expected.sha256:
            found.append(f"{folder.name}/{name}: its SHA-256 is not the manifest's")
        elif expected.xxh3 and actual.xxh3 != expected.xxh3:
            found.append(f"{folder.name}/{name}: its XXH3 is not the manifest's")
    return found


def manifest_problems(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with a checkpoint folder's manifest alone; the files are another matter."""
    found = [f"{folder.name}: {hole}" for hole in manifest.holes()]
    found += [f"{folder.name}: {file} holds pieces and is not listed" for file in manifest.unlisted()]
    if manifest.sha256 != manifest.digest():
        found.append(f"{folder.name}/{NAME}: its SHA-256 is not the one it holds")
    if folder.name != f"{PREFIX}{manifest.step:08d}":
        found.append(f"{folder.name}/{NAME}: is of step {manifest.step}")
    return found


def checkpoints_in(folder: Path) -> list[Checkpoint]:
    """Published checkpoints, oldest first: folders with a readable manifest. None of them is proven yet."""
    opened = (open_checkpoint(path) for path in folders_in(folder))
    return [checkpoint for checkpoint in opened if checkpoint is not None]


def folders_in(folder: Path) -> list[Path]:
    """Folders with a checkpoint's name, oldest first, whatever is in them. A person's own copy of one has another."""
    found = [path for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)))


def open_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in ``folder``; None when it has no readable manifest."""
    manifest = read_manifest(folder)
    return Checkpoint(folder, manifest) if manifest else None
