"""What a recipe may say but this version does not do yet. Each is refused by name, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator

from biodist.config.findings import Finding
from biodist.config.recipe import Recipe

TASKS = ("ner", "nli", "classification")
LATER = "is part of the recipe, but this version does not do it yet"


def not_ready(recipe: Recipe) -> Iterator[Finding]:
    """Every value of the recipe that waits for a later version."""
    if recipe.task not in TASKS:
        yield Finding((("task",),), f"{recipe.task} {LATER}", "tasks ready: " + ", ".join(TASKS))
