"""Where caches lie."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`BIODIST_CACHE`; else `biodist` in `XDG_CACHE_HOME`; else `~/.cache/biodist`. Need not exist yet."""
    if chosen := os.environ.get("BIODIST_CACHE"):
        return Path(chosen).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # A relative XDG_CACHE_HOME is to be ignored (XDG base directory specification).
    root = Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache"
    return root / "biodist"
