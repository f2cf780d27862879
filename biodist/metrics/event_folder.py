"""The event files of one TensorBoard folder: a new one takes the place of older ones while readers look on."""

from __future__ import annotations

import time
from pathlib import Path

from biodist.run.durable import temporary_name

_PREFIX = "events.out.tfevents."


def event_files(folder: Path) -> list[Path]:
    """By name: the order in which readers take them."""
    return sorted(path for path in folder.iterdir() if path.name.startswith(_PREFIX))


def next_path(folder: Path) -> Path:
    """A name that sorts after every older file's: readers take a folder's files in the order of their names."""
    second = int(time.time())
    for older in event_files(folder):
        number = older.name.removeprefix(_PREFIX).split(".")[0]
        second = max(second, int(number) + 1) if number.isdigit() else second
    return folder / f"{_PREFIX}{second:010d}.biodist"


def retire_all_but(path: Path) -> None:
    """Puts an empty file in the place of each other one; removes those that an earlier call emptied.

    A TensorBoard that follows the folder stays for ever at a file that is gone, but leaves an empty one for the next.
    Another file rather than the same one emptied: a replaced writer that wakes up still has that one open.
    """
    for older in event_files(path.parent):
        if older == path:
            continue
        if older.stat().st_size:
            empty = older.with_name(temporary_name(older.name))
            empty.touch()
            empty.replace(older)
        else:
            older.unlink()
