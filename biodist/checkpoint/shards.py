"""Shards: safetensors files, written in one pass with their digest, read by ranges.

The format (https://huggingface.co/docs/safetensors): eight bytes with the header's length, a JSON header with each
tensor's dtype, shape and place, then the bytes. Written here rather than by the library because a checkpoint must
neither copy its tensors first nor be read again to be hashed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

from biodist.checkpoint.manifest import ShardFile

CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Entry:
    """One fp32 tensor to be written: its name, shape, and its values in order, in chunks."""

    name: str
    shape: tuple[int, ...]
    chunks: Callable[[], Iterator[np.ndarray]]

    @property
    def bytes(self) -> int:
        return 4 * int(np.prod(self.shape, dtype=np.int64))


def write_shard(path: Path, entries: Iterable[Entry], metadata: dict[str, str] | None = None) -> ShardFile:
    """Writes and syncs one safetensors file; gives its size and SHA-256.

    Raises:
        OSError: the file system refused (full, read-only, …).
        ValueError: an entry gave more or fewer values than its shape says.
    """
    entries = list(entries)
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for entry in entries:
        header[entry.name] = {
            "dtype": "F32",
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + entry.bytes],
        }
        offset += entry.bytes
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    digest = hashlib.sha256()
    size = 0
    with path.open("wb") as file:

        def put(data: bytes | memoryview) -> None:
            nonlocal size
            file.write(data)
            digest.update(data)
            size += len(data)

        put(len(encoded).to_bytes(8, "little"))
        put(encoded)
        for entry in entries:
            before = size
            for chunk in entry.chunks():
                put(np.ascontiguousarray(chunk, dtype="<f4").data.cast("B") if chunk.size else b"")
            if size - before != entry.bytes:
                raise ValueError(f"{entry.name}: {size - before} bytes where its shape says {entry.bytes}")
        file.flush()
        os.fsync(file.fileno())
    return ShardFile(bytes=size, sha256=digest.hexdigest())


def read_range(path: Path, name: str, start: int, stop: int) -> np.ndarray:
    """Elements ``start`` to ``stop`` of a flat tensor in a shard."""
    with safe_open(path, framework="np") as shard:
        values: np.ndarray = shard.get_slice(name)[start:stop]
        return values


def file_digest(path: Path) -> ShardFile:
    """Size and SHA-256 of a file as it lies on disk."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return ShardFile(bytes=file.tell(), sha256=digest.hexdigest())


def in_chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """A flat array in pieces of at most ``CHUNK_BYTES``."""
    step = CHUNK_BYTES // 4
    for start in range(0, len(values), step):
        yield values[start : start + step]
