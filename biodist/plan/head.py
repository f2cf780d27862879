"""A trained classifier's classes against a recipe's: by name, never by number; without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping

CLASSIFIERS = {  # what `architectures` of a config.json ends in, by the task whose heads are of its kind
    "ner": "ForTokenClassification",
    "nli": "ForSequenceClassification",
    "classification": "ForSequenceClassification",
}
MADE_UP = re.compile(r"label_\d+", re.IGNORECASE)  # transformers' names where nobody gave any


def named_head(config: object, task: str) -> tuple[str, ...] | None:
    """The classes that a folder's config.json names, in the order of its classifier's rows.

    None where the folder holds no classifier of this task's kind, or one without a name for every row.
    """
    if not isinstance(config, Mapping) or task not in CLASSIFIERS:
        return None
    architectures, names = config.get("architectures"), config.get("id2label")
    if not isinstance(architectures, list) or not isinstance(names, Mapping):
        return None
    if not any(str(name).endswith(CLASSIFIERS[task]) for name in architectures):
        return None
    by_row = {str(row): str(name) for row, name in names.items()}
    rows = [str(row) for row in range(len(by_row))]
    return tuple(by_row[row] for row in rows) if set(rows) == by_row.keys() and rows else None


def matched_head(head: tuple[str, ...] | None, labels: tuple[str, ...]) -> tuple[int, ...] | None:
    """For each of ``labels`` the row of the trained classifier that says it: ``rows[i]`` belongs to ``labels[i]``.

    Names are compared exactly, and where that fails, case-folded. None where the two do not name the same classes, or
    where the head's names are made up (LABEL_0, …): a new head is then drawn.
    """
    if not head or len(head) != len(labels) or all(MADE_UP.fullmatch(name) for name in head):
        return None
    for spelt in (str, str.casefold):
        rows = {spelt(name): row for row, name in enumerate(head)}
        wanted = [spelt(label) for label in labels]
        if len(rows) == len(head) and len(set(wanted)) == len(wanted) and rows.keys() == set(wanted):
            return tuple(rows[label] for label in wanted)
    return None
