"""The files and folders a recipe names: made absolute, and missed before anything starts."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from biodist.config.corpora import SPLITS, entries, is_hub_id
from biodist.config.document import KeyPath
from biodist.config.findings import Finding, shown_value
from biodist.config.recipe import CORPUS, CorpusEntry, Recipe

FOLDERS = ("brat", "bigbio")  # formats whose corpus may be a folder
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def located(recipe: Recipe) -> Recipe:
    """The recipe with every corpus, file of names and existing local model folder named from the root; `~` is the
    home."""
    splits = {split: tuple(_located(entry) for entry in getattr(recipe.data, split)) for split in SPLITS}
    model, augment = recipe.model, recipe.data.augment
    if model.name is not None and is_folder(folder := absolute(model.name)):
        model = model.model_copy(update={"name": str(folder)})
    if augment is not None:
        sources = tuple(source if source == CORPUS else str(absolute(source)) for source in augment.sources)
        augment = augment.model_copy(update={"sources": sources})
    data = recipe.data.model_copy(update={**splits, "augment": augment})
    return recipe.model_copy(update={"data": data, "model": model})


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
    if entry.format == "bigbio" and is_hub_id(entry.path):
        return entry
    return entry.model_copy(update={"path": str(absolute(entry.path))})


def missing_files(recipe: Recipe) -> Iterator[Finding]:
    """Every corpus that cannot be read, and a model that is neither a folder here nor a hub id."""
    for key, entry in entries(recipe.data):
        if entry.format == "bigbio" and is_hub_id(entry.path):
            continue
        fault = _fault(absolute(entry.path), may_be_folder=entry.format in FOLDERS)
        if fault:
            do = "give the file's path" if Path(entry.path).is_absolute() else f"paths start at {Path.cwd()}"
            yield Finding(((*key, "path"),), fault, do)
    augment = recipe.data.augment
    for number, source in augment.files if augment is not None else ():
        if fault := _fault(absolute(source)):
            do = "give the file's path, or corpus for the training files"
            yield Finding((("data", "augment", "sources", number), ("data", "augment")), fault, do)
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


def _fault(path: Path, may_be_folder: bool = False) -> str:
    if is_file(path) or (may_be_folder and is_folder(path)):
        return "" if os.access(path, os.R_OK) else f"{shown_value(path)} cannot be read: no permission"
    return (
        f"{shown_value(path)} is a folder, not a file" if is_folder(path) else f"there is no file {shown_value(path)}"
    )
