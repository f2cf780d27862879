"""Shards: safetensors files, written in one pass with their digest, read by ranges.

The format (https://huggingface.co/docs/safetensors): eight bytes with the header's length, a JSON header with each
tensor's dtype, shape and place, then the bytes. Written here rather than by the library because a checkpoint must
neither copy its tensors first nor be read again to be hashed; read here because the library parses the header anew for
each range.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from xxhash import xxh3_128

from biodist.checkpoint.manifest import ShardFile
from biodist.errors import RunFailed

CHUNK_BYTES = 16 * 2**20  # written at once
BATCH_BYTES = 64 * 2**20  # hashed and sent to the disk at once: fewer hand-overs between threads than tensors
READ_BYTES = 2**20  # read at once: still in the processor's cache when it is hashed
LENGTH_BYTES = 8  # of the header's length, at the start of a shard
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Entry:
    """One tensor to be written: its name, shape, its values in order, in chunks, and its dtype in safetensors' words.

    The chunks of anything but F32 are its bytes.
    """

    name: str
    shape: tuple[int, ...]
    chunks: Callable[[], Iterator[np.ndarray]]
    dtype: str = "F32"

    @property
    def bytes(self) -> int:
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)


def write_shard(path: Path, entries: Iterable[Entry], metadata: dict[str, str] | None = None) -> ShardFile:
    """Writes and syncs one safetensors file; gives its size and digests.

    Raises:
        OSError: the file system refused (full, read-only, …).
        ValueError: an entry gave more or fewer values than its shape says.
    """
    entries = list(entries)
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for entry in entries:
        header[entry.name] = {
            "dtype": entry.dtype,
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
                stream.put(
                    np.ascontiguousarray(chunk, chunk.dtype.newbyteorder("<")).data.cast("B") if chunk.size else b""
                )
            if stream.bytes - before != entry.bytes:
                raise ValueError(f"{entry.name}: {stream.bytes - before} bytes where its shape says {entry.bytes}")
        return stream.synced()


class _Digests:
    """SHA-256 and XXH3-128 of the same bytes, in one pass."""

    def __init__(self) -> None:
        self.bytes = 0
        self._sha256, self._xxh3 = hashlib.sha256(), xxh3_128()

    def update(self, data: bytes | memoryview) -> None:
        for start in range(0, len(data), READ_BYTES):  # still in the processor's cache when it is hashed again
            piece = memoryview(data)[start : start + READ_BYTES]
            self._sha256.update(piece)
            self._xxh3.update(piece)
        self.bytes += len(data)

    def result(self) -> ShardFile:
        return ShardFile(bytes=self.bytes, sha256=self._sha256.hexdigest(), xxh3=self._xxh3.hexdigest())


class _HashedStream:
    """A file that is hashed by a thread while it is written, and goes to the disk while more of it comes."""

    def __init__(self, file: BinaryIO, thread: ThreadPoolExecutor):
        self.bytes = 0
        self._file = file
        self._thread = thread
        self._digests = _Digests()
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
            self._digests.update(data)

    def synced(self) -> ShardFile:
        """Waits for disk and digest."""
        self._hand_on()
        os.fsync(self._file.fileno())
        if self._hashing is not None:
            self._hashing.result()
        return self._digests.result()


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

    def place(self, name: str) -> int:
        """Where a tensor's bytes begin. Raises RunFailed where it is not there."""
        if name not in self.starts:
            raise RunFailed(f"{self.path}: holds no {name}")
        return self.starts[name]

    def read(self, name: str, start: int, stop: int, dtype: str = "<f4") -> np.ndarray:
        """Elements ``start`` to ``stop`` of a flat tensor. Raises OSError, or RunFailed where they are not there."""
        size = np.dtype(dtype).itemsize
        values = np.fromfile(self.path, dtype, count=stop - start, offset=self.place(name) + size * start)
        if len(values) != stop - start:
            raise RunFailed(f"{self.path}: ends inside {name}")
        return values


@dataclass(frozen=True)
class Target:
    """Bytes of a file from ``start`` on, and the memory they are read into."""

    start: int
    into: memoryview  # of bytes

    @property
    def stop(self) -> int:
        return self.start + len(self.into)


def read_into(path: Path, targets: Sequence[Target]) -> Iterator[tuple[int, memoryview]]:
    """Reads what the targets want, in the order of the file; gives each piece when it is there, with its target's
    number. No two targets may want the same byte.

    Raises:
        OSError: the system cannot read it.
        RunFailed: the file ends inside a target.
    """
    with path.open("rb", buffering=0) as file:
        for number in _in_order(targets):
            file.seek(targets[number].start)
            yield from ((number, piece) for piece in _pieces(file, targets[number].into))


def read_proving(path: Path, targets: Sequence[Target], expected: ShardFile) -> Iterator[tuple[int, memoryview]]:
    """As `read_into`, but every byte of the file is read and hashed in the same pass; trust nothing before its end.

    Raises:
        OSError: the system cannot read it.
        RunFailed: its size or its digest is not the expected one; the message is what is wrong, without the path.
    """
    name, digest, promised = (
        ("XXH3", xxh3_128(), expected.xxh3) if expected.xxh3 else ("SHA-256", hashlib.sha256(), expected.sha256)
    )
    with path.open("rb", buffering=0) as file:
        if (size := os.fstat(file.fileno()).st_size) != expected.bytes:
            raise RunFailed(f"{size} bytes, the manifest says {expected.bytes}")
        at = 0
        for number in _in_order(targets):
            _pass_over(file, targets[number].start - at, digest.update)
            for piece in _pieces(file, targets[number].into):
                digest.update(piece)
                yield number, piece
            at = targets[number].stop
        _pass_over(file, expected.bytes - at, digest.update)
        if digest.hexdigest() != promised:
            raise RunFailed(f"its {name} is not the manifest's")


def _in_order(targets: Sequence[Target]) -> list[int]:
    return sorted(range(len(targets)), key=lambda number: targets[number].start)


def _pieces(file: BinaryIO, into: memoryview) -> Iterator[memoryview]:
    """Fills ``into`` from where the file stands."""
    at = 0
    while at < len(into):
        count = file.readinto(into[at : at + READ_BYTES])  # type: ignore[attr-defined]
        if not count:
            raise RunFailed("it ends too early")
        yield into[at : at + count]
        at += count


def _pass_over(file: BinaryIO, count: int, digest: Callable[[bytes], None]) -> None:
    """Hashes the next bytes, which nobody wants."""
    while count > 0:
        data = file.read(min(count, READ_BYTES))
        if not data:
            raise RunFailed("it ends too early")
        digest(data)
        count -= len(data)


def file_digest(path: Path) -> ShardFile:
    """Size and digests of a file as it lies on disk."""
    digests, room = _Digests(), memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(room):
            digests.update(room[:count])
    return digests.result()


def in_chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """A flat array in pieces of at most ``CHUNK_BYTES``."""
    step = CHUNK_BYTES // 4
    for start in range(0, len(values), step):
        yield values[start : start + step]
