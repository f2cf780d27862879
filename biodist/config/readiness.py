"""What a recipe may say but this version does not do yet. Each is refused by name, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from biodist.config.corpora import annotated_types, entries
from biodist.config.document import KeyPath
from biodist.config.findings import Finding
from biodist.config.recipe import Recipe
from biodist.config.text_rules import FORMATS_OF_TASK

TASKS = ("ner", "nli", "classification")
FORMATS = tuple(dict.fromkeys(name for formats in FORMATS_OF_TASK.values() for name in formats))
LATER = "is part of the recipe, but this version does not do it yet"


def not_ready(recipe: Recipe) -> Iterator[Finding]:
    """Every value of the recipe that waits for a later version."""
    return chain(_task(recipe), _formats(recipe), _merging(recipe))


def _task(recipe: Recipe) -> Iterator[Finding]:
    if recipe.task not in TASKS:
        yield Finding((("task",),), f"{recipe.task} {LATER}", "tasks ready: " + ", ".join(TASKS))


def _formats(recipe: Recipe) -> Iterator[Finding]:
    for key, entry in entries(recipe.data):
        if entry.format not in FORMATS:
            yield Finding(((*key, "format"),), f"{entry.format} {LATER}", "formats ready: " + ", ".join(FORMATS))


def _merging(recipe: Recipe) -> Iterator[Finding]:
    data = recipe.data
    annotates: tuple[KeyPath, ...] = tuple(("data", "train", n, "annotates") for n in range(len(data.train)))
    # Where every training corpus annotates the same types, all schemes are one.
    if len({annotated_types(entry, data) for entry in data.train}) > 1 and data.merge != "naive":
        about = (("data", "merge"), ("data", "labels"), *annotates)
        what = f"{data.merge} {LATER}, and the training corpora annotate different types"
        yield Finding(about, what, "set data.merge=naive, or train on corpora that annotate the same types")
    if len(data.train) > 1 and data.sampling != "proportional":
        sampling = data.sampling if isinstance(data.sampling, str) else f"temperature {data.sampling.temperature:g}"
        yield Finding((("data", "sampling"),), f"{sampling} {LATER}", "set data.sampling=proportional")
