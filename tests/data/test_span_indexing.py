"""Training from corpora that mark characters: the index is that of the same words and tags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biodist.config.recipe import Recipe
from biodist.data.conversion import convert
from biodist.data.fingerprint import data_fingerprint
from biodist.data.formats.source import DocumentSource
from biodist.data.indexing import build_index, index_notices
from biodist.data.store import SampleStore
from biodist.errors import UserError

LINES = [
    {"id": "1", "text": "APC in colon cancer. Mice had gout twice in all.", "entities": [
        {"start": 7, "end": 19, "type": "Disease"}, {"start": 13, "end": 19, "type": "Disease"},
        {"start": 0, "end": 3, "type": "Gene"}, {"start": 30, "end": 34, "type": "Disease"}]},
    {"id": "2", "text": "Breast and ovarian cancer of five old mice.", "entities": [
        {"start": 0, "end": 25, "type": "Disease", "pieces": [[0, 6], [19, 25]]}]},
]  # fmt: skip


def recipe(path: Path, format: str, **data: Any) -> Recipe:
    entry = {"path": str(path), "format": format, "name": "c", "map": {"Gene": "O"} if format not in ("iob2",) else {}}
    stated = {"labels": ["Disease"], "max_length": 32, "stride": 8, "train": [entry], **data}
    return Recipe.model_validate(
        {"name": "x", "task": "ner", "model": {"init": "scratch"}, "data": stated, "train": {"epochs": 1}}
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


@pytest.mark.parametrize("format", ["brat", "bioc", "bigbio", "jsonl"])
def test_the_index_is_that_of_the_same_words_and_tags(corpus: Path, tmp_path: Path, format: str) -> None:
    """By way of `data convert`: the tagged file, made from the same text, gives the same windows and labels."""
    source = DocumentSource(corpus, "jsonl", rename={"Gene": "O"})
    convert(source, tmp_path / "c.tsv", "iob2")
    convert(source, tmp_path / "spans", format)
    tagged = build_index(recipe(tmp_path / "c.tsv", "iob2"), None, tmp_path / "cache")
    index = build_index(recipe(tmp_path / "spans", format), None, tmp_path / "cache")
    ours, theirs = SampleStore.open(index, "train"), SampleStore.open(tagged, "train")
    assert ours.windows == theirs.windows == 3 and index.splits["train"].types == {"Disease": 3}
    for number in range(ours.windows):
        for name in ("input_ids", "labels", "words"):
            assert np.array_equal(getattr(ours.window(number), name), getattr(theirs.window(number), name))


def test_what_one_layer_cost_is_in_the_index_and_a_notice(corpus: Path, tmp_path: Path) -> None:
    index = build_index(recipe(corpus, "jsonl"), None, tmp_path / "cache")
    split = index.splits["train"]
    assert (split.overlapping, split.discontinuous, split.wordless) == (1, 1, 0)
    said = "\n".join(index_notices(index))
    assert "data.overlaps: 1 mention" in said and "data.discontinuous: 1 mention" in said


def test_refused_overlaps_name_line_and_document(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        build_index(recipe(corpus, "jsonl", overlaps="refuse", discontinuous="refuse"), None, tmp_path / "cache")
    problems = refusal.value.problems
    assert [each.where for each in problems] == [f"{corpus}:1", f"{corpus}:2"]
    assert "document 1: mention at 13 to 19 overlaps" in problems[0].what and "is discontinuous" in problems[1].what


def test_the_fingerprint_is_of_folders_and_of_how_they_are_read(corpus: Path, tmp_path: Path) -> None:
    convert(DocumentSource(corpus, "jsonl"), tmp_path / "one", "brat")
    convert(DocumentSource(corpus, "jsonl"), tmp_path / "two", "brat")
    of = {name: data_fingerprint(recipe(tmp_path / name, "brat"), "t") for name in ("one", "two")}
    assert of["one"] == of["two"]
    assert data_fingerprint(recipe(tmp_path / "one", "brat", overlaps="refuse"), "t") != of["one"]
    (tmp_path / "two" / "2.ann").write_text("")
    assert data_fingerprint(recipe(tmp_path / "two", "brat"), "t") != of["one"]
    with pytest.raises(UserError, match="cannot be read"):
        data_fingerprint(recipe(tmp_path / "three", "brat"), "t")
