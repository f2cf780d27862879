"""A file that is made again from what is known, takes the old one's place whole, and then grows."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biodist.run.durable import sync_folder, temporary_name


class GrowingFile:
    """Until `publish` everything goes to a hidden file beside `path`; afterwards to `path`, each write at once.

    A kill before `publish` leaves the old file as it was; one after it can tear the last write only.
    """

    def __init__(self, path: Path):
        self.path = path
        # A name of this process's own: another attempt's, which may have replaced this one, must not be written over.
        # What a kill leaves, the next attempt sweeps away.
        self._hidden = path.with_name(temporary_name(path.name))
        self._file = self._hidden.open("wb")
        self._published = False

    def write(self, data: bytes) -> None:
        """Appends. Raises OSError when the disk is full."""
        self._file.write(data)
        if self._published:
            self._file.flush()

    def publish(self) -> None:
        """Puts the file in place, durably: first its contents, then its name. Raises OSError."""
        self.sync()
        self._hidden.replace(self.path)
        sync_folder(self.path.parent)
        self._published = True

    def sync(self) -> None:
        """Waits until all of it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Syncs and closes, harmless twice; a file that was never published is removed."""
        if self._file.closed:
            return
        if self._published:
            self.sync()
        self._file.close()
        self._hidden.unlink(missing_ok=True)


def finite_json(value: Any) -> Any:
    """`value` with NaN and the infinities as the strings "nan", "inf" and "-inf": JSON has no numbers for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, Mapping):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(item) for item in value]
    return value


def json_line(value: Mapping[str, Any]) -> bytes:
    """One line, newline included, keys in the order given. Floats are written so that they read back bit for bit."""
    return json.dumps(finite_json(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
