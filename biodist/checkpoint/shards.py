"""Shards: safetensors files, written in one pass with their digest, read by ranges.

The format (https://huggingface.co/docs/safetensors): eight bytes with the header's length, a JSON header with each
tensor's dtype, shape and place, then the bytes. Written here rather than by the library because a checkpoint must
neither copy its tensors first nor be read again to be hashed; read here because the library parses the header anew for
each range.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from mmap import mmap
from pathlib import Path
from typing import Self

import numpy as np
from xxhash import xxh3_128

from biodist.checkpoint.manifest import ShardFile
from biodist.errors import RunFailed

CHUNK_BYTES = 16 * 2**20  # written at once
ROOM_BYTES = 16 * 2**20  # hashed and sent to the disk at once
BLOCK_BYTES = 4096  # what is written past the page cache begins and ends at a multiple of this
AHEAD_BYTES = 64 * 2**20  # asked of the disk before they are read
READ_BYTES = 2**20  # read at once: still in the processor's cache when it is hashed
DIRECT = getattr(os, "O_DIRECT", 0)  # 0 where the system knows no such thing
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
    with ThreadPoolExecutor(1, "write") as thread:
        stream = _HashedStream(path, thread)
        try:
            stream.put(memoryview(len(encoded).to_bytes(LENGTH_BYTES, "little") + encoded))
            for entry in entries:
                _put(stream, entry)
            return stream.synced()
        finally:
            thread.shutdown()
            stream.close()


def _put(stream: _HashedStream, entry: Entry) -> None:
    count = 0
    for chunk in entry.chunks():
        values = np.ascontiguousarray(chunk, chunk.dtype.newbyteorder("<"))
        stream.put(values.data.cast("B") if values.size else memoryview(b""))
        count += values.nbytes
    if count != entry.bytes:
        raise ValueError(f"{entry.name}: {count} bytes where its shape says {entry.bytes}")


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
    """A file that is hashed while it is written, past the page cache where the file system allows it.

    Through the cache every byte costs a page of memory and its cleaning, more of the processor than hashing does. What
    is put is copied into one of two rooms; a full one is hashed here while a thread gives it to the disk.
    """

    def __init__(self, path: Path, thread: ThreadPoolExecutor):
        self.bytes = 0
        self._file, self._direct = _open_to_write(path)
        self._thread = thread
        self._digests = _Digests()
        self._writing: Future[None] | None = None
        self._rooms = [np.frombuffer(mmap(-1, ROOM_BYTES), np.uint8) for _ in range(2)]  # at the start of a page
        self._filled = 0

    def put(self, data: memoryview) -> None:
        """Adds bytes."""
        values = np.frombuffer(data, np.uint8)
        while len(values):
            count = min(len(values), ROOM_BYTES - self._filled)
            np.copyto(self._rooms[0][self._filled : self._filled + count], values[:count])
            self._filled += count
            values = values[count:]
            if self._filled == ROOM_BYTES:
                self._hand_on()

    def _hand_on(self) -> None:
        room, count = self._rooms[0].data, self._filled
        self._wait()
        whole_blocks = -(-count // BLOCK_BYTES) * BLOCK_BYTES
        self._writing = self._thread.submit(self._write, room[:whole_blocks], self.bytes)
        self._digests.update(room[:count])
        self.bytes += count
        self._filled = 0
        self._rooms.reverse()

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _write(self, data: memoryview, at: int) -> None:
        while data:
            try:
                count = os.pwrite(self._file, data, at)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                self._direct = False  # opened so, but not written so
                fcntl.fcntl(self._file, fcntl.F_SETFL, fcntl.fcntl(self._file, fcntl.F_GETFL) & ~os.O_DIRECT)
                continue
            if not self._direct and hasattr(os, "posix_fadvise"):  # Linux begins to write at once, and does not wait
                os.posix_fadvise(self._file, at, count, os.POSIX_FADV_DONTNEED)
            data, at = data[count:], at + count

    def synced(self) -> ShardFile:
        """Waits for disk and digest."""
        if self._filled:
            self._hand_on()
        self._wait()
        os.ftruncate(self._file, self.bytes)  # the last block was written whole
        os.fsync(self._file)
        return self._digests.result()

    def close(self) -> None:
        """When the thread has nothing more to write."""
        os.close(self._file)


def _open_to_write(path: Path) -> tuple[int, bool]:
    """A new file, and whether it is written past the page cache."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(path, flags | DIRECT, 0o666), bool(DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags, 0o666), False


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
        RunFailed: the file ends inside a target; the message is without the path.
    """
    with path.open("rb", buffering=0) as file:
        reader = _Reader(file)
        for number in _in_order(targets):
            reader.go_to(targets[number].start)
            yield from ((number, piece) for piece in reader.fill(targets[number].into))


def read_proving(path: Path, targets: Sequence[Target], expected: ShardFile) -> Iterator[tuple[int, memoryview]]:
    """As `read_into`, but every byte of the file is read and hashed in the same pass; trust nothing before its end.

    Raises:
        OSError: the system cannot read it.
        RunFailed: its size or its digest is not the expected one; the message is without the path.
    """
    name, digest, promised = (
        ("XXH3", xxh3_128(), expected.xxh3) if expected.xxh3 else ("SHA-256", hashlib.sha256(), expected.sha256)
    )
    with path.open("rb", buffering=0) as file:
        if (size := os.fstat(file.fileno()).st_size) != expected.bytes:
            raise RunFailed(f"{size} bytes, the manifest says {expected.bytes}")
        reader = _Reader(file)
        for number in _in_order(targets):
            for piece in reader.pass_over(targets[number].start):
                digest.update(piece)
            for piece in reader.fill(targets[number].into):
                digest.update(piece)
                yield number, piece
        for piece in reader.pass_over(expected.bytes):
            digest.update(piece)
        if digest.hexdigest() != promised:
            raise RunFailed(f"its {name} is not the manifest's")


def _in_order(targets: Sequence[Target]) -> list[int]:
    return sorted(range(len(targets)), key=lambda number: targets[number].start)


class _Reader:
    """A file read from front to back; the disk is asked for bytes ahead of their turn, and does not wait for us."""

    def __init__(self, file: FileIO):
        self._file = file
        self._at = self._asked = 0

    def go_to(self, place: int) -> None:
        self._at = self._file.seek(place)

    def fill(self, into: memoryview) -> Iterator[memoryview]:
        """Fills ``into`` with the next bytes, a piece at a time. Raises RunFailed where the file ends."""
        filled = 0
        while filled < len(into):
            self._ask_ahead()
            if not (count := self._file.readinto(into[filled : filled + READ_BYTES])):
                raise RunFailed("it ends too early")
            yield into[filled : filled + count]
            filled += count
            self._at += count

    def pass_over(self, place: int) -> Iterator[memoryview]:
        """The bytes up to ``place``, which nobody wants."""
        room = memoryview(bytearray(min(READ_BYTES, max(0, place - self._at))))
        while self._at < place:
            yield from self.fill(room[: place - self._at])

    def _ask_ahead(self) -> None:
        if hasattr(os, "posix_fadvise") and self._at + AHEAD_BYTES // 2 >= self._asked:
            start = max(self._asked, self._at)
            os.posix_fadvise(self._file.fileno(), start, AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
            self._asked = start + AHEAD_BYTES


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
