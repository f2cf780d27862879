"""Rules of recipes whose corpora mark characters: each finding names its key."""

from __future__ import annotations

from typing import Any

import pytest

from biodist.config.document import dotted
from biodist.config.recipe import Recipe
from biodist.config.rules import broken_rules


def keys(entry: dict[str, Any], **data: Any) -> list[str]:
    stated = {"labels": ["Gene"], "train": [{"path": "x", "format": "brat", **entry}], **data}
    recipe = Recipe.model_validate(
        {"name": "x", "task": "ner", "model": {"init": "scratch"}, "data": stated, "train": {"epochs": 1}}
    )
    return [dotted(finding.about[0]) for finding in broken_rules(recipe)]


@pytest.mark.parametrize("format", ["brat", "pubtator", "bioc", "jsonl", "bigbio"])
def test_the_formats_are_of_task_ner(format: str) -> None:
    assert keys({"format": format, "map": {"Cell": "O"}}) == []


@pytest.mark.parametrize(
    ("entry", "data", "key"),
    [
        ({}, {"overlaps": "keep"}, "data.overlaps"),
        ({}, {"discontinuous": "keep"}, "data.discontinuous"),
        ({"part": "train"}, {}, "data.train.0.part"),
        ({"fields": {"text": "body"}}, {}, "data.train.0.fields"),
        ({"annotates": ["O"]}, {}, "data.train.0.annotates.0"),
    ],
)
def test_what_is_refused(entry: dict[str, Any], data: dict[str, Any], key: str) -> None:
    assert key in keys(entry, **data)
