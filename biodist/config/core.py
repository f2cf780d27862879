"""The core of a recipe: what makes a run the run it is, and never changes inside one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from biodist.config.loading import load_recipe
from biodist.config.recipe import Recipe
from biodist.errors import Problem, UserError
from biodist.run.folder import RunFolder

CORE_SECTIONS = {"task", "model", "data", "train"}
FREE_KEYS = {"model": {"activation_checkpointing"}, "train": {"micro_batch", "padding"}}


def core(recipe: Recipe) -> dict[str, Any]:
    """`task`, `model`, `data` and `train` without what may change from attempt to attempt, as plain JSON values."""
    return recipe.model_dump(mode="json", include=CORE_SECTIONS, exclude=FREE_KEYS)


def core_digest(recipe: Recipe) -> str:
    """SHA-256 of the core as canonical JSON, in hex."""
    text = json.dumps(core(recipe), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def core_differences(a: Recipe, b: Recipe) -> list[str]:
    """The core's keys that differ, dotted, with both values: `train.seed: 42 and 43`."""
    ours, theirs = _flat(core(a)), _flat(core(b))
    names = [*ours, *(name for name in theirs if name not in ours)]
    return [
        f"{name}: {_shown(ours, name)} and {_shown(theirs, name)}"
        for name in names
        if _shown(ours, name) != _shown(theirs, name)
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict | list):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {
        name: leaf
        for key, inner in items
        for name, leaf in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _shown(leaves: dict[str, Any], name: str) -> str:
    return json.dumps(leaves[name], ensure_ascii=False) if name in leaves else "absent"


def refuse_other_core(run: RunFolder, recipe: Recipe) -> None:
    """A run keeps the recipe it began with: nothing of its core changes inside it. Raises UserError, with each key."""
    if not run.recipe.exists():
        return
    theirs = load_recipe(str(run.recipe), check_files=False)
    if differences := core_differences(theirs, recipe):
        do = "leave it as it was, or start a new run with --run ANOTHER_FOLDER"
        raise UserError(Problem(str(run.root), f"the run began with another recipe: {d}", do) for d in differences)
