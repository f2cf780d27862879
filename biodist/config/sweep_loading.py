"""From a sweep's name to the sweep and its recipe, or to everything that is wrong with them."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biodist.config.catalogue import SWEEPS, catalogue_folder, find_recipe
from biodist.config.core import core
from biodist.config.document import Document, read_document
from biodist.config.files import is_file
from biodist.config.findings import shown_value
from biodist.config.loading import recipe_of, stated
from biodist.config.overrides import overridden
from biodist.config.recipe import Recipe
from biodist.config.space import Settings
from biodist.config.space import overrides as words_of
from biodist.config.sweep import Sweep
from biodist.config.sweep_rules import broken_sweep_rules, space_problems, trial_words
from biodist.errors import BiodistError, Problem, UserError

_FREE: dict[str, bool | set[str]] = {
    "name": True,
    "recipe": True,
    "search": {"trials", "concurrency", "max_hours", "max_gpu_hours", "retries"},
}


@dataclass(frozen=True)
class StatedSweep:
    """A sweep, and the recipe that its trials start from, as it is without a trial's settings."""

    sweep: Sweep
    recipe: Recipe
    document: Document  # of the recipe, overrides in place
    recipe_path: Path
    recipe_overrides: tuple[str, ...] = ()

    def trial_recipe(self, settings: Settings, more: Sequence[str] = ()) -> Recipe:
        """The recipe of a trial. Raises UserError."""
        return recipe_of(overridden(self.document, (*trial_words(self.sweep, settings), *more)), False)

    def best_recipe(self, settings: Settings) -> Recipe:
        """The recipe with a trial's settings, scored as the recipe itself says. Raises UserError."""
        return recipe_of(overridden(self.document, words_of(settings)), False)

    @property
    def identity(self) -> dict[str, Any]:
        """What never changes inside a sweep's folder, as plain JSON values."""
        return {"sweep": self.sweep.model_dump(mode="json", exclude=_FREE), "core": core(self.recipe)}

    @property
    def digest(self) -> str:
        """SHA-256 of the identity, in hex."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def load_sweep(
    name_or_path: str | Path, overrides: Iterable[str] = (), check_files: bool = True, recipe: Path | None = None
) -> StatedSweep:
    """The sweep of a file, or of the catalogue, with its recipe.

    Overrides of `search`, `metric`, `mode`, `space`, `name` and `recipe` change the sweep, all others the recipe.
    ``recipe`` is read in the place of the one that the sweep names. Raises UserError that lists every problem.
    """
    path = find_sweep(name_or_path)
    source = str(path) if path == Path(name_or_path) else path.name
    words = list(overrides)
    of_sweep = [word for word in words if word.partition("=")[0].split(".")[0].strip() in Sweep.model_fields]
    document = overridden(read_document(path, source), of_sweep, Sweep)
    problems: list[Problem] = []
    sweep, base, written = None, None, None
    try:
        sweep = stated(document, Sweep, broken_sweep_rules)
    except UserError as error:
        problems += error.problems
    try:
        named = recipe or _recipe_file(document, path)
        of_recipe = tuple(word for word in words if word not in of_sweep)
        written = overridden(read_document(named), of_recipe)
        base = recipe_of(written, check_files)
    except UserError as error:
        problems += error.problems
    if problems or sweep is None or base is None or written is None:
        raise UserError(problems)
    if found := space_problems(sweep, document, written, check_files):
        raise UserError(found)
    return StatedSweep(sweep, base, written, named, of_recipe)


def find_sweep(name_or_path: str | Path) -> Path:
    """The file: the path itself where there is one, else the sweep of that name. Raises UserError."""
    path = Path(name_or_path)
    if is_file(path):
        return path
    known = sweep_files()
    name = path.as_posix().removesuffix(".yaml").removesuffix(".yml").removeprefix("recipes/")
    found = known.get(name.removeprefix(f"{SWEEPS}/"))
    if found is not None:
        return found
    close = difflib.get_close_matches(path.stem, known, n=1, cutoff=0.5)
    do = f"did you mean {SWEEPS}/{close[0]}? " if close else ""
    do += "there are " + ", ".join(f"{SWEEPS}/{name}" for name in known)
    if path.is_dir():
        raise UserError(Problem(shown_value(path), "is a folder", f"a sweep's goes on with --resume {path}; {do}"))
    raise UserError(Problem(shown_value(path), "there is no such file, and no sweep of that name", do))


def sweep_files() -> dict[str, Path]:
    """The sweeps that come with biodist: name to file."""
    return {path.stem: path for path in sorted((catalogue_folder() / SWEEPS).glob("*.yaml"))}


def is_sweep(name_or_path: str) -> bool:
    """Whether this names a sweep and not a recipe: `sweeps/NAME`, or a file that has a `space`."""
    if not is_file(Path(name_or_path)):
        return name_or_path.removeprefix("recipes/").startswith(f"{SWEEPS}/")
    try:
        return "space" in read_document(Path(name_or_path)).values
    except BiodistError:
        return False  # whoever reads it as a recipe says what is wrong


def differences(a: StatedSweep, b: StatedSweep) -> list[str]:
    """The keys of the identity that differ, dotted, with both values."""
    ours, theirs = dict(_flat(a.identity, "")), dict(_flat(b.identity, ""))
    return [
        f"{name}: {json.dumps(ours.get(name))} and {json.dumps(theirs.get(name))}"
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
    ]


def _flat(value: Any, prefix: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [leaf for key, inner in value.items() for leaf in _flat(inner, f"{prefix}.{key}" if prefix else str(key))]


def _recipe_file(document: Document, sweep: Path) -> Path:
    """The recipe's file: as any recipe is found, else beside the sweep. Raises UserError."""
    name = document.values.get("recipe")
    if not isinstance(name, str) or not name.strip():
        raise UserError([])  # the schema says so
    beside = sweep.parent / name
    try:
        return find_recipe(name)
    except UserError as error:
        if is_file(beside):
            return beside
        place = document.place(("recipe",))
        raise UserError(Problem(place, problem.what, problem.do) for problem in error.problems) from None
