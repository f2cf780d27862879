"""Reduced parts of large groups, kept beside the tree: a group of a thousand runs of which ten grew is not read whole.

A part is found by what it is made of (names, files and sizes of its members), so none can be out of date.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biodist.aggregation.groups import Reduction
from biodist.aggregation.run_board import BoardFile
from biodist.run.durable import temporary_name

Part = Mapping[str, BoardFile]  # members by name, as they are in the tree


@dataclass(frozen=True)
class PartStore:
    """A folder of parts."""

    folder: Path

    def path(self, part: Part) -> Path:
        """Where a part is kept."""
        made_of = json.dumps([(name, file.name, file.size) for name, file in part.items()])
        return self.folder / f"{hashlib.sha256(made_of.encode()).hexdigest()}.npz"

    def load(self, part: Part) -> dict[str, Reduction] | None:
        """By tag; None where it is not kept, or not whole."""
        try:
            with np.load(self.path(part), allow_pickle=False) as kept:
                tags = [str(tag) for tag in kept["tags"]]
                return {tag: Reduction.of(kept[f"whole{n}"], kept[f"floats{n}"]) for n, tag in enumerate(tags)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, part: Part, reductions: Mapping[str, Reduction]) -> None:
        """Raises OSError."""
        self.folder.mkdir(exist_ok=True)
        path = self.path(part)
        columns: dict[str, np.ndarray] = {"tags": np.array(list(reductions), dtype=np.str_)}
        for number, reduction in enumerate(reductions.values()):
            columns[f"whole{number}"], columns[f"floats{number}"] = reduction.columns()
        hidden = path.with_name(temporary_name(path.name))
        try:
            with hidden.open("wb") as file:
                np.savez(file, **columns)  # type: ignore[arg-type]
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)

    def keep_only(self, parts: list[Part]) -> None:
        """Removes what no group is made of any more. Raises OSError."""
        kept = {self.path(part) for part in parts}
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path not in kept:
                path.unlink()
