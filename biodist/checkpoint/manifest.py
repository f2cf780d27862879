"""``MANIFEST.json``: what a checkpoint holds, where each piece lies, and the digests that prove it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

NAME = "MANIFEST.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardFile(_Frozen):
    """Size in bytes and SHA-256 of one file."""

    bytes: int
    sha256: str


class Piece(_Frozen):
    """Elements ``start`` to ``start + count`` of a flattened parameter, in ``file``."""

    file: str
    start: int
    count: int


class ParameterPieces(_Frozen):
    """A parameter's shape and its pieces, by start."""

    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


class Cursor(_Frozen):
    """Position in the data: the next step begins after ``step_of_epoch`` steps of ``epoch`` (both count from 1)."""

    epoch: int
    step_of_epoch: int


class Manifest(_Frozen):
    """Written last: a folder without it is no checkpoint."""

    version: int = 1
    step: int
    attempt: int
    world_size: int
    strategy: str
    cursor: Cursor
    core_digest: str
    data_fingerprint: str
    files: dict[str, ShardFile]
    parameters: dict[str, ParameterPieces]
    sha256: str = ""  # of all the rest: a flipped bit is found here as it is in a shard

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    def digest(self) -> str:
        """What ``sha256`` must be."""
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()

    def signed(self) -> Manifest:
        """The same manifest with its ``sha256``."""
        return self.model_copy(update={"sha256": self.digest()})

    def unlisted(self) -> list[str]:
        """Files that hold pieces and whose digests are not here."""
        return sorted({piece.file for p in self.parameters.values() for piece in p.pieces} - set(self.files))

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
