"""The corpora of a recipe: its files by key, and what a sample of them is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from biodist.config.document import KeyPath
from biodist.config.recipe import CorpusEntry, DataSection, Recipe

SPLITS = ("train", "validation", "test")
TEXT_TASKS = ("nli", "classification")  # a sample is a text or a pair of texts, labelled as a whole


def entries(data: DataSection) -> Iterator[tuple[KeyPath, CorpusEntry]]:
    """Every file of every split with its key."""
    for split in SPLITS:
        for number, entry in enumerate(getattr(data, split)):
            yield ("data", split, number), entry


def is_hub_id(path: str) -> bool:
    """Whether a corpus's path is the id of a data set on a hub, owner/name: nothing of that name lies here."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", path) is not None and path[0] != "." and not Path(path).exists()


def has_pairs(recipe: Recipe) -> bool:
    """Whether a sample is a pair of texts: always one window. The files of a recipe agree on that by rule."""
    return recipe.task in TEXT_TASKS and recipe.data.train[0].columns_for(recipe.task).second is not None


def annotated_types(entry: CorpusEntry, data: DataSection) -> tuple[str, ...]:
    """The types a corpus annotates, in the order of ``data.labels``: what it says nothing of is not absent there."""
    return tuple(kind for kind in data.labels if entry.annotates is None or kind in entry.annotates)


def asked_views(data: DataSection) -> tuple[tuple[str, ...], ...]:
    """The sets of types that are asked for in turn in validation, test and prediction; mostly all types at once.

    Under ``merge: tagged`` a set that no training corpus annotates has a marker that was never trained. There it is the
    fewest training views that together have all types, in the order of first use; of equally few the earlier ones.
    """
    trained = tuple(dict.fromkeys(annotated_types(entry, data) for entry in data.train))
    if data.merge != "tagged" or data.labels in trained:
        return (data.labels,)
    chosen = _covering(trained, [kind for kind in data.labels if any(kind in view for view in trained)])
    return tuple(trained[number] for number in chosen)


def _covering(views: Sequence[tuple[str, ...]], types: Sequence[str]) -> list[int]:
    """The numbers of the fewest views that together have all of these types, each of which some view has."""
    if not types:
        return []
    # Begun with the type that fewest views have, the search has little to choose between.
    rarest = min(types, key=lambda kind: sum(kind in view for view in views))
    covers = (
        sorted([number, *_covering(views, [kind for kind in types if kind not in view])])
        for number, view in enumerate(views)
        if rarest in view
    )
    return min(covers, key=lambda cover: (len(cover), cover))


def views_of(recipe: Recipe) -> tuple[tuple[str, ...], ...]:
    """What the recipe's corpora annotate: each different set of types once, in the order of first use.

    Empty where a sample is labelled as a whole; one view where every corpus annotates the same.
    """
    if recipe.task in TEXT_TASKS:
        return ()
    return tuple(dict.fromkeys(annotated_types(entry, recipe.data) for _, entry in entries(recipe.data)))
