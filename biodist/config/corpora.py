"""The corpora of a recipe: its files by key, and what a sample of them is."""

from __future__ import annotations

from collections.abc import Iterator

from biodist.config.document import KeyPath
from biodist.config.recipe import CorpusEntry, DataSection, Recipe

SPLITS = ("train", "validation", "test")
TEXT_TASKS = ("nli", "classification")  # a sample is a text or a pair of texts, labelled as a whole


def entries(data: DataSection) -> Iterator[tuple[KeyPath, CorpusEntry]]:
    """Every file of every split with its key."""
    for split in SPLITS:
        for number, entry in enumerate(getattr(data, split)):
            yield ("data", split, number), entry


def has_pairs(recipe: Recipe) -> bool:
    """Whether a sample is a pair of texts: always one window. The files of a recipe agree on that by rule."""
    return recipe.task in TEXT_TASKS and recipe.data.train[0].columns_for(recipe.task).second is not None


def annotated_types(entry: CorpusEntry, data: DataSection) -> frozenset[str]:
    """The types a corpus annotates."""
    return frozenset(data.labels if entry.annotates is None else entry.annotates)
