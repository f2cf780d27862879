"""Sizes, shares and baselines of small corpora with known answers."""

from __future__ import annotations

import json

import pytest

from biodist.data.records import Entity, Record, TextRecord
from biodist.data.statistics import TextStudy, WordStudy


def record(words: str, *entities: tuple[int, int, str]) -> Record:
    return Record("1", "c", 1, tuple(words.split()), tuple(Entity(*each) for each in entities))


def test_words() -> None:
    study = WordStudy()
    train = study.add("train", [record("APC is a gene", (0, 1, "Gene")), record("colon cancer", (0, 2, "Disease"))])
    assert (train.sentences, train.tokens, train.inside, train.baselines) == (2, 6, 0.5, ())
    assert train.lengths == {"mean": 3.0, "median": 2, "p95": 4, "longest": 4}
    test = study.add(
        "test",
        [record("APC and colon cancer and gout", (2, 4, "Disease"), (5, 6, "Disease")), record("APC", (0, 1, "Gene"))],
    )
    dictionary, majority = test.baselines
    assert (dictionary.precision, dictionary.recall, dictionary.f1) == (2 / 3, 2 / 3, pytest.approx(2 / 3))
    assert (majority.name, majority.f1) == ("majority", 0.0)
    assert test.types["Disease"].unseen == 0.5 and test.types["Gene"].unseen == 0.0 and test.types["Disease"].names == 2
    assert json.loads(json.dumps(test.as_json()))["baselines"]["dictionary"]["recall"] == 2 / 3


def test_texts() -> None:
    study = TextStudy()
    study.add("train", [TextRecord("1", "c", 1, ("a b", "c"), (label,)) for label in ("yes", "no", "yes")])
    test = study.add("test", [TextRecord("1", "c", 1, ("a",), (label,)) for label in ("yes", "no")])
    assert test.majority == 0.5 and test.classes == {"no": 1, "yes": 1}


def test_an_empty_file_has_no_lengths() -> None:
    assert WordStudy().add("train", []).lengths == {} and TextStudy().add("train", []).classes == {}
