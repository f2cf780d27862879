"""The files and folders a recipe names: made absolute, and missed before anything starts."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from biodist.config.corpora import SPLITS, entries
from biodist.config.document import KeyPath
from biodist.config.findings import Finding, shown_value
from biodist.config.recipe import CorpusEntry, Recipe

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def located(recipe: Recipe) -> Recipe:
    """The recipe with every corpus and an existing local model folder named from the root; `~` is the home."""
    splits = {split: tuple(_located(entry) for entry in getattr(recipe.data, split)) for split in SPLITS}
    model = recipe.model
    if model.name is not None and is_folder(folder := absolute(model.name)):
        model = model.model_copy(update={"name": str(folder)})
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=splits), "model": model})


def absolute(name: str) -> Path:
    """The path from the root. Its folder is resolved, its own name kept: a link names the corpus it stands for."""
    path = Path(name)
    with contextlib.suppress(RuntimeError):  # ~nobody: no such user, so the name is a file's
        path = path.expanduser()
    path = path.absolute()
    with contextlib.suppress(OSError, RuntimeError):  # a loop of links: nothing there can be read, and _fault says so
        return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name
    return path


def is_file(path: Path) -> bool:
    """Whether it is a file; no error for a name too long or otherwise impossible."""
    with contextlib.suppress(OSError, ValueError):
        return path.is_file()
    return False


def is_folder(path: Path) -> bool:
    """Whether it is a folder; no error for a name too long or otherwise impossible."""
    with contextlib.suppress(OSError, ValueError):
        return path.is_dir()
    return False


def _located(entry: CorpusEntry) -> CorpusEntry:
    return entry.model_copy(update={"path": str(absolute(entry.path))})


def missing_files(recipe: Recipe) -> Iterator[Finding]:
    """Every corpus that cannot be read, and a model that is neither a folder here nor a hub id."""
    for key, entry in entries(recipe.data):
        fault = _fault(absolute(entry.path))
        if fault:
            do = "give the file's path" if Path(entry.path).is_absolute() else f"paths start at {Path.cwd()}"
            yield Finding(((*key, "path"),), fault, do)
    name = recipe.model.name
    if name is None or recipe.model.init == "scratch":
        return
    about: KeyPath = ("model", "name")
    folder = absolute(name)
    if is_file(folder):
        yield Finding(
            (about,), f"{shown_value(folder)} is a file", "give the folder that holds config.json and the weights"
        )
    elif not is_folder(folder) and not (HUB_ID.fullmatch(name) and not name.startswith(".")):
        yield Finding(
            (about,),
            f"{shown_value(name)} is neither a folder here nor a hub id (owner/name)",
            f"looked at {shown_value(folder)}",
        )


def _fault(path: Path) -> str:
    if is_file(path):
        return "" if os.access(path, os.R_OK) else f"{shown_value(path)} cannot be read: no permission"
    return (
        f"{shown_value(path)} is a folder, not a file" if is_folder(path) else f"there is no file {shown_value(path)}"
    )
