"""From texts and pairs to a data index: classes, windows, what was cut, and splits that do not fit one another."""

import json
from pathlib import Path

import pytest

from biodist.config.recipe import Recipe
from biodist.data.indexing import build_index, index_notices
from biodist.data.store import SampleStore
from biodist.errors import UserError

NLI = ["entailment", "neutral", "contradiction"]


def write(path: Path, *rows: object) -> dict:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"path": str(path), "format": "jsonl"}


def pair(label: str, second: str = "He is well.", first: str = "He has no pain and no fever.") -> dict:
    return {"sentence1": first, "sentence2": second, "gold_label": label}


def text(label: object, words: int = 3) -> dict:
    return {"text": "pain " * words, "label": label}


def build(folder: Path, task: str, labels: list[str], **data):
    section = {"labels": labels, "max_length": 16, "stride": 2, **data}
    model = {"init": "scratch", "scratch": {"vocab_size": 80}}
    stated = {"name": "x", "task": task, "model": model, "data": section, "train": {"epochs": 1}}
    return build_index(Recipe.model_validate(stated), None, folder / "cache")


def test_pairs(tmp_path):
    train = write(tmp_path / "train.jsonl", pair("neutral"), pair("-"), pair("entailment", "well " * 20))
    index = build(tmp_path, "nli", NLI, train=[train])
    assert index.labels == tuple(NLI)
    counted = index.splits["train"]
    assert (counted.samples, counted.windows, counted.targets) == (2, 2, 2)
    assert (counted.truncated, counted.dropped, counted.longest) == (1, 1, 16)
    assert counted.types == {"entailment": 1, "neutral": 1, "contradiction": 0}
    assert index_notices(index) == (
        "data.labels: contradiction never occurs in train",
        "data.max_length: 1 samples of train (50.0 %) cut",
        "data.train: 1 pairs without a majority label dropped",
    )
    store = SampleStore.open(index, "train")
    assert [store.gold(sample).tolist() for sample in (0, 1)] == [[1], [0]]
    assert [store.sample_id(sample) for sample in (0, 1)] == ["train:1", "train:2"]
    assert all(0 < store.window(number).second < store.lengths[number] for number in (0, 1))


def test_long_texts_and_several_labels(tmp_path):
    rows = [text(["B", "A"], 40), text([], 1), text("B")]
    train = write(tmp_path / "train.jsonl", *rows)
    index = build(tmp_path, "classification", ["A", "B"], multi_label=True, train=[train])
    store = SampleStore.open(index, "train")
    assert [store.gold(sample).tolist() for sample in range(3)] == [[0, 1], [], [1]]
    first = int(store.first_window[1])
    assert first > 2 and store.targets.tolist() == [1] + [0] * (first - 1) + [1, 1]
    assert int(store.targets.sum()) == store.samples == index.splits["train"].targets
    assert store.seconds.tolist() == store.lengths.tolist()
    assert index.splits["train"].types == {"A": 1, "B": 2}
    few = build(tmp_path, "classification", ["A", "B"], multi_label=True, max_windows=2, train=[train])
    assert (few.splits["train"].windows, few.splits["train"].truncated) == (4, 1)


def test_a_class_that_is_scored_must_have_been_trained(tmp_path):
    train = write(tmp_path / "train.jsonl", text("A"), text("B"))
    test = write(tmp_path / "test.jsonl", text("A"), text("C"), text("C"))
    with pytest.raises(UserError) as caught:
        build(tmp_path, "classification", ["A", "B", "C"], train=[train], test=[test])
    (problem,) = caught.value.problems
    assert problem.where == f"{tmp_path}/test.jsonl:2"
    assert problem.what == "class C is in data.test (samples: 2), but in no file of data.train"
    assert str(tmp_path / "train.jsonl") in problem.do
    several = build(tmp_path, "classification", ["A", "B", "C"], multi_label=True, train=[train], test=[test])
    assert "data.labels: C never occurs in train" in index_notices(several)


def test_every_problem_of_every_file_at_once(tmp_path):
    train = write(tmp_path / "train.jsonl", pair("neutrl"), pair("entailment"), pair("neutral", second=""))
    test = write(tmp_path / "test.jsonl", pair("entailment"), {}, pair("contradiction"))
    with pytest.raises(UserError) as caught:
        build(tmp_path, "nli", NLI, train=[train], test=[test], max_length=8, truncate="second")
    found = [(problem.where.rsplit("/")[-1], problem.what) for problem in caught.value.problems]
    too_long = "the pair is too long, and cutting its second text (data.truncate) leaves nothing of it"
    assert found == [
        ("train.jsonl:1", "field gold_label: class that is not declared"),
        ("train.jsonl:3", "field sentence2: is empty"),
        ("train.jsonl:2", too_long),
        ("test.jsonl:2", "has no field gold_label"),
        ("test.jsonl:2", "has no field sentence1"),
        ("test.jsonl:2", "has no field sentence2"),
        ("test.jsonl:1", too_long),
        ("test.jsonl:3", too_long),
        ("test.jsonl:3", "class contradiction is in data.test (samples: 1), but in no file of data.train"),
    ]


def test_the_fingerprint_follows_what_samples_depend_on(tmp_path):
    train = write(tmp_path / "train.jsonl", {**pair("neutral"), "text": "a b", "label": "neutral"}, pair("entailment"))
    texts = write(tmp_path / "texts.jsonl", {"text": "a b", "label": "neutral", "other": "c"})

    def pairs(**data):
        return build(tmp_path, "nli", NLI, **{"train": [train], **data}).fingerprint

    def singles(entry=texts, **data):
        return build(tmp_path, "classification", NLI, train=[entry], **data).fingerprint

    assert pairs() == pairs(stride=3) == pairs(repair=True) == pairs(pool="max")
    columns = {"columns": {"text": "sentence2", "second": "sentence1"}}
    assert len({pairs(), pairs(truncate="first"), pairs(max_length=17), pairs(train=[{**train, **columns}])}) == 4
    assert singles() == singles(truncate="first")
    other = {**texts, "columns": {"text": "other"}}
    prints = {singles(), singles(stride=3), singles(max_windows=2), singles(multi_label=True), singles(other), pairs()}
    assert len(prints) == 6
