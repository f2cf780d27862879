"""``MANIFEST.json``: what a checkpoint holds, where each piece lies, and the digests that prove it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

NAME = "MANIFEST.json"
VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardFile(_Frozen):
    """Size in bytes and digests of one file. XXH3-128 finds damage as surely as SHA-256 does, ten times as fast: a
    load proves by it. (Against a forger neither helps: he can write a manifest, too.)"""

    bytes: int
    sha256: str
    xxh3: str = ""


class Piece(_Frozen):
    """Elements ``start`` to ``start + count`` of a flattened parameter, in ``file``."""

    file: str
    start: int
    count: int


class ParameterPieces(_Frozen):
    """A parameter's shape and its pieces, by start. A frozen one has weights alone, no moments."""

    shape: tuple[int, ...]
    frozen: bool = False
    pieces: tuple[Piece, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


class StoredBuffer(_Frozen):
    """A persistent buffer of the model, whole in ``file``; ``dtype`` as safetensors calls it."""

    file: str
    dtype: str
    shape: tuple[int, ...]


class ScalerState(_Frozen):
    """What fp16's dynamic loss scale knows: the scale, the steps since it last changed, and how many it skipped so
    far: Adam did not count those."""

    scale: float
    good_steps: int
    skipped: int = 0


class Cursor(_Frozen):
    """Position in the data: the next step begins after ``step_of_epoch`` steps of ``epoch`` (both count from 1)."""

    epoch: int
    step_of_epoch: int


class Manifest(_Frozen):
    """Written last: a folder without it is no checkpoint. What a run does not have is left out of the file."""

    version: int
    step: int
    attempt: int
    world_size: int
    strategy: str
    cursor: Cursor
    core_digest: str
    data_fingerprint: str
    files: dict[str, ShardFile]
    parameters: dict[str, ParameterPieces]
    buffers: dict[str, StoredBuffer] = {}
    scaler: ScalerState | None = None  # fp16 alone
    sha256: str = ""  # of all the rest: a flipped bit is found here as it is in a shard

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    def digest(self) -> str:
        """What ``sha256`` must be."""
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}, exclude_defaults=True).encode()).hexdigest()

    def text(self) -> str:
        """What is written to ``MANIFEST.json``."""
        return self.model_dump_json(indent=1, exclude_defaults=True) + "\n"

    def signed(self) -> Manifest:
        """The same manifest with its ``sha256``."""
        return self.model_copy(update={"sha256": self.digest()})

    def unlisted(self) -> list[str]:
        """Files that hold pieces and whose digests are not here."""
        holding = {piece.file for p in self.parameters.values() for piece in p.pieces}
        return sorted((holding | {buffer.file for buffer in self.buffers.values()}) - set(self.files))

    def holes(self) -> list[str]:
        """What is missing or there twice; empty when every element of every parameter is there once."""
        found = []
        for name, parameter in self.parameters.items():
            at = 0
            for piece in sorted(parameter.pieces, key=lambda piece: piece.start):
                if piece.start != at:
                    found.append(
                        f"{name}: {'gap' if piece.start > at else 'overlap'} at element {min(at, piece.start)}"
                    )
                at = piece.start + piece.count
            if at != parameter.count:
                found.append(f"{name}: {at} of {parameter.count} elements")
        return found


def read_manifest(checkpoint: Path) -> Manifest | None:
    """The manifest of a checkpoint folder; None where it is missing, unreadable or no manifest."""
    try:
        return Manifest.model_validate_json((checkpoint / NAME).read_bytes())
    except (OSError, ValidationError, ValueError):
        return None


def tensor_name(part: str, parameter: str, start: int) -> str:
    """Name of one fragment's tensor in its shard: ``exp_avg/encoder.layer.0…/1024``."""
    return f"{part}/{parameter}/{start}"


def buffer_name(buffer: str) -> str:
    """Name of a buffer's tensor in its shard."""
    return f"buffer/{buffer}"
