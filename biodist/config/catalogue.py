"""The recipes that come with biodist: packaged in the wheel, or beside the package in a clone."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from biodist.config.document import read_document
from biodist.config.files import is_file, is_folder
from biodist.config.findings import shown_value
from biodist.errors import BiodistError, Problem, UserError

PACKAGE = Path(__file__).resolve().parents[1]
SWEEPS = "sweeps"  # folder of the catalogue whose files are sweeps of its recipes


@dataclass(frozen=True)
class RecipeSummary:
    """One recipe of the catalogue."""

    name: str
    task: str
    summary: str  # the first line of its head comment
    path: Path


def catalogue_folder() -> Path:
    """Where the recipes lie."""
    packaged = PACKAGE / "_recipes"
    return packaged if packaged.is_dir() else PACKAGE.parent / "recipes"


def catalogue() -> dict[str, Path]:
    """Name to file, by name; a name is the path under the folder without its suffix."""
    folder = catalogue_folder()
    files = (path for path in folder.rglob("*.yaml") if path.parent.name != SWEEPS)
    return dict(sorted((path.relative_to(folder).with_suffix("").as_posix(), path) for path in files))


def find_recipe(name_or_path: str | Path) -> Path:
    """The file: the path itself where there is one, else the recipe of that name. Raises UserError."""
    path = Path(name_or_path)
    if is_file(path):
        return path
    known = catalogue()
    name = path.as_posix().removesuffix(".yaml").removesuffix(".yml")
    found = known.get(name) or known.get(name.removeprefix("recipes/"))
    if found is not None:
        return found
    if is_folder(path):
        raise UserError(Problem(str(path), "is a folder, not a recipe", "name the YAML file in it"))
    close = difflib.get_close_matches(Path(name).name, known, n=1, cutoff=0.5)
    do = f"did you mean {close[0]}? " if close else ""
    raise UserError(
        Problem(
            shown_value(path), "there is no such file, and no recipe of that name", do + "`biodist recipes` lists them"
        )
    )


def list_recipes() -> tuple[RecipeSummary, ...]:
    """What the catalogue holds, by name. Corpora need not be there; an unreadable recipe says so in its summary."""
    return tuple(_summary(name, path) for name, path in catalogue().items())


def _summary(name: str, path: Path) -> RecipeSummary:
    try:
        task = str(read_document(path).values.get("task"))
    except BiodistError as error:
        return RecipeSummary(name, "", str(error), path)
    return RecipeSummary(name, task, headline(path), path)


def headline(path: Path) -> str:
    """The first line of a file's head comment."""
    comments = (line.strip().lstrip("#").strip() for line in path.read_text("utf-8").splitlines() if line[:1] == "#")
    return next((line for line in comments if line), "")
