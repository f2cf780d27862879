"""Shards: safetensors files, written in one pass with their digest, read by ranges.

The format (https://huggingface.co/docs/safetensors): eight bytes with the header's length, a JSON header with each
tensor's dtype, shape and place, then the bytes. Written here rather than by the library because a checkpoint must
neither copy its tensors first nor be read again to be hashed; read here because the library parses the header anew for
each range.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from biodist.checkpoint.manifest import ShardFile
from biodist.errors import RunFailed

CHUNK_BYTES = 16 * 2**20  # written at once
BATCH_BYTES = 64 * 2**20  # hashed and sent to the disk at once: fewer hand-overs between threads than tensors
READ_BYTES = 4 * 2**20  # read at once: still in the processor's cache when it is hashed and copied
LENGTH_BYTES = 8  # of the header's length, at the start of a shard


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
    with path.open("wb") as file, ThreadPoolExecutor(1, "digest") as thread:
        stream = _HashedStream(file, thread)
        stream.put(len(encoded).to_bytes(LENGTH_BYTES, "little"))
        stream.put(encoded)
        for entry in entries:
            before = stream.bytes
            for chunk in entry.chunks():
                stream.put(np.ascontiguousarray(chunk, dtype="<f4").data.cast("B") if chunk.size else b"")
            if stream.bytes - before != entry.bytes:
                raise ValueError(f"{entry.name}: {stream.bytes - before} bytes where its shape says {entry.bytes}")
        return stream.synced()


class _HashedStream:
    """A file that is hashed by a thread while it is written, and goes to the disk while more of it comes."""

    def __init__(self, file: BinaryIO, thread: ThreadPoolExecutor):
        self.bytes = 0
        self._file = file
        self._thread = thread
        self._digest = hashlib.sha256()
        self._hashing: Future[None] | None = None
        self._batch: list[bytes | memoryview] = []  # written, not hashed yet
        self._batch_start = 0

    def put(self, data: bytes | memoryview) -> None:
        """Adds bytes, which must not change before `synced`."""
        self._file.write(data)
        self._batch.append(data)
        self.bytes += len(data)
        if self.bytes - self._batch_start >= BATCH_BYTES:
            self._hand_on()

    def _hand_on(self) -> None:
        """The batch to the thread, and to the disk.

        Left alone, the system starts to write when memory is full of unwritten pages, and the disk idles until then.
        Told that they are no longer needed in memory, Linux begins at once and does not wait.
        """
        if self._hashing is not None:
            self._hashing.result()  # no more than one batch waits, so that a slow digest fills no memory
        self._hashing = self._thread.submit(self._hash, self._batch)
        self._file.flush()
        if hasattr(os, "posix_fadvise"):
            length = self.bytes - self._batch_start
            os.posix_fadvise(self._file.fileno(), self._batch_start, length, os.POSIX_FADV_DONTNEED)
        self._batch, self._batch_start = [], self.bytes

    def _hash(self, batch: list[bytes | memoryview]) -> None:
        for data in batch:
            self._digest.update(data)

    def synced(self) -> ShardFile:
        """Waits for disk and digest."""
        self._hand_on()
        os.fsync(self._file.fileno())
        if self._hashing is not None:
            self._hashing.result()
        return ShardFile(bytes=self.bytes, sha256=self._digest.hexdigest())


@dataclass(frozen=True)
class Shard:
    """A shard's file, and where in it the values of each tensor begin, in bytes."""

    path: Path
    starts: Mapping[str, int]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Reads the header. Raises OSError, or RunFailed where it is none."""
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            first = LENGTH_BYTES + length
            try:
                if first > path.stat().st_size:
                    raise ValueError
                header = json.loads(file.read(length))
                starts = {n: first + t["data_offsets"][0] for n, t in header.items() if n != "__metadata__"}
            except (ValueError, LookupError, TypeError, AttributeError):
                raise RunFailed(f"{path}: not a shard, its header is damaged") from None
        return cls(path, starts)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Elements ``start`` to ``stop`` of a flat tensor. Raises OSError, or RunFailed where they are not there."""
        if name not in self.starts:
            raise RunFailed(f"{self.path}: holds no {name}")
        values = np.fromfile(self.path, "<f4", count=stop - start, offset=self.starts[name] + 4 * start)
        if len(values) != stop - start:
            raise RunFailed(f"{self.path}: ends inside {name}")
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
