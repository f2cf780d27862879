"""A place in the cache for one data index: locked while it is built, published by a rename, swept of what died."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

STAGING = ".staging"
LOCK = ".lock"
PRIVATE, SHARED = 0o700, 0o755


class CacheSlot:
    """``cache/<name>`` and what belongs to it; the name says all that the index depends on.

    ``private`` folders are their owner's alone (0700).
    """

    def __init__(self, cache: Path, name: str, private: bool = False):
        self.cache = cache.expanduser().absolute()
        self.name = name
        self.folder = self.cache / name
        self._mode = PRIVATE if private else SHARED
        self._held = False

    def protect(self) -> None:
        """Closes a folder that an earlier, less careful recipe left open to others."""
        if self._mode == PRIVATE and self.folder.stat().st_mode & 0o077:
            self.folder.chmod(PRIVATE)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Waits until no other process builds this index, then keeps others waiting.

        On a file system that knows no locks builders do not wait: each builds its own, the last one published stays.
        """
        self.cache.mkdir(mode=self._mode, parents=True, exist_ok=True)
        with _lock_file(self.cache, self.name) as handle:
            self._held = _flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder to build in; gone afterwards unless published."""
        if self._held:
            self._sweep()
        path = self.cache / f".{self.name}{STAGING}-{socket.gethostname()}-{os.getpid()}"
        path.mkdir(mode=self._mode)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, staging: Path) -> None:
        """Makes a built folder the index. What it replaces was found damaged; who has it open keeps it."""
        for path in staging.rglob("*"):
            if path.is_file():
                with path.open("rb") as handle:
                    os.fsync(handle.fileno())
        if self.folder.exists():
            shutil.rmtree(self.folder)
        staging.rename(self.folder)
        _sync_folder(self.cache)

    def _sweep(self) -> None:
        """Removes the staging folders of builders that died: a lock that can be had has no builder."""
        for path in self.cache.glob(f".*{STAGING}-*"):
            name = path.name.removeprefix(".").partition(STAGING)[0]
            if name == self.name:
                shutil.rmtree(path)
                continue
            with _lock_file(self.cache, name) as handle:
                if _flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(path, ignore_errors=True)


def _lock_file(cache: Path, name: str) -> IO[bytes]:
    return (cache / f".{name}{LOCK}").open("ab")


def _flock(handle: IO[bytes], operation: int) -> bool:
    """Whether the lock was had: not where another holds it, nor on a file system without locks."""
    try:
        fcntl.flock(handle, operation)
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
