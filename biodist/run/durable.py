"""Files that are there whole or not at all, also after a power cut.

A file is written beside its place, synced, renamed over it, and the folder is synced. Streams are JSON lines that
are only ever appended to: a line without its newline was cut by a crash and does not count.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from biodist.errors import RunFailed

_CHUNK = 1 << 16  # bytes


def sync_folder(folder: Path) -> None:
    """Makes names created, renamed or removed in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems sync folders by themselves and refuse to be asked.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`, atomically and durably. On an error the old file stays and nothing lies beside it.

    Raises OSError when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_name(name: str) -> str:
    """A hidden name beside `name`, ending in `.tmp`, that no other writer has: not on another host, not one that was
    replaced and wakes up."""
    return f".{name}.{socket.gethostname()[:64]}-{os.getpid()}-{threading.get_native_id()}.tmp"


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by `text` in UTF-8, atomically and durably. Raises OSError."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` by `value` as indented JSON, atomically and durably. Raises OSError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


class JsonLines:
    """Appends one JSON value a line. A context manager; one writer a file.

    Opening cuts off a last line that a crash left without its newline. Lines reach the operating system at once, so
    they outlive this process; `sync` makes them outlive the machine. Infinities and NaN are written as Python reads
    them (a gradient norm may be one).
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("ab", buffering=0)
        whole = _whole_bytes(path)
        if whole < path.stat().st_size:
            os.ftruncate(self._file.fileno(), whole)

    def append(self, value: Any) -> None:
        """Adds one line, or nothing of it. Raises OSError when the disk is full."""
        whole = os.fstat(self._file.fileno()).st_size
        rest = memoryview(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        try:
            while rest:  # an unbuffered file may take a part only
                rest = rest[self._file.write(rest) :]
        except OSError:
            with suppress(OSError):  # a part of a line would spoil the next one
                os.ftruncate(self._file.fileno(), whole)
            raise

    def sync(self) -> None:
        """Waits until every line is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Syncs and closes; harmless twice."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _whole_bytes(path: Path) -> int:
    """Bytes up to and including the last newline."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _CHUNK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def read_json_lines(path: Path) -> Iterator[Any]:
    """The values of a stream in order; nothing when there is no such file, without a last line that has no newline.

    Raises RunFailed for a whole line that is not JSON, naming file and line.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                value = json.loads(line)
            except ValueError:
                raise RunFailed(f"{path}:{number}: not a JSON line; restore the file, or start a new run") from None
            yield value


def remove_tree(folder: Path, first: Iterable[str] = ()) -> None:
    """Removes a folder and all in it; the files named in `first` go before the rest, durably.

    What says that a folder is whole (a manifest) must go first: a crash in between leaves a folder that nobody trusts.
    A folder that is not there is fine. Raises OSError; never follows a link.
    """
    if not folder.exists():
        return
    named = [folder / name for name in first]
    for path in named:
        path.unlink(missing_ok=True)
    if named:
        sync_folder(folder)
    shutil.rmtree(folder)
    sync_folder(folder.parent)
