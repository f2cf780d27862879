"""Rules of recipes for texts and pairs: columns, formats, classes, metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from biodist.config.loading import load_recipe
from biodist.config.recipe import Columns
from biodist.config.rules import metrics_of
from biodist.errors import UserError

TINY = """\
name: tiny
task: nli
model:
  init: scratch
data:
  max_length: 64
  labels: [entailment, neutral, contradiction]
  train: [{path: train.jsonl, format: jsonl}]
  validation: [{path: devel.jsonl, format: jsonl}]
train:
  epochs: 2
"""
SINGLE = ("task=classification",)
TABLE = ("data.train.0.format=tsv", "data.validation=[]")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    for name in ("train.jsonl", "devel.jsonl"):
        (tmp_path / name).write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_recipe("tiny.yaml", overrides)
    return [str(problem) for problem in caught.value.problems]


def test_columns_are_the_tasks_unless_they_are_named() -> None:
    recipe = load_recipe("tiny.yaml", ["data.train.0.columns={text: premise}"])
    train, validation = (entry.columns_for(recipe.task) for entry in (*recipe.data.train, *recipe.data.validation))
    assert validation == Columns(text="sentence1", second="sentence2", label="gold_label", id="pairID")
    assert train == Columns(text="premise", second="sentence2", label="gold_label", id="pairID")
    recipe = load_recipe("tiny.yaml", [*SINGLE, *TABLE, "data.stride=8", "data.train.0.columns={text: 2, label: 1}"])
    assert recipe.data.train[0].columns_for(recipe.task) == Columns(text="2", label="1")
    recipe = load_recipe("tiny.yaml", [*SINGLE, "data.train.0.format=pubmedqa", "data.validation=[]"])
    (entry,) = recipe.data.train
    assert entry.columns_for(recipe.task) == Columns(text="QUESTION", second="CONTEXTS", label="final_decision")


def test_a_pair_is_one_window_so_its_stride_is_free() -> None:
    assert load_recipe("tiny.yaml", ["data.stride=63"]).data.stride == 63
    assert problems(*SINGLE, "data.stride=63")[0].startswith("override data.stride=63: 63 must be below")


def test_metrics_follow_the_task() -> None:
    assert "matthews" in metrics_of(load_recipe("tiny.yaml", ["evaluate.metric=matthews"]))
    several = load_recipe(
        "tiny.yaml", [*SINGLE, "data.stride=8", "data.multi_label=true", "evaluate.metric=example_f1"]
    )
    assert "matthews" not in metrics_of(several)


def test_a_pair_without_a_majority_may_be_renamed_to_be_one() -> None:
    assert load_recipe("tiny.yaml", ['data.train.0.map={"-1": "-"}']).data.train[0].map == {"-1": "-"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.train.0.format=iob"], "override data.train.0.format=iob: iob is no format of task nli (one of jsonl,"),
        (["data.train.0.format=pubmedqa"], "override data.train.0.format=pubmedqa: pubmedqa is no format of task nli"),
        (
            ["task=ner", "data.labels=[A]", "data.train.0.format=csv"],
            "override data.train.0.format=csv: csv is no format of task ner",
        ),
        (
            ["task=ner", "data.train.0.columns.text=a"],
            ": task ner reads no named columns",
        ),
        (
            ["data.train.0.columns.second=gold_label"],
            "gold_label is the column of second already",
        ),
        (
            [*TABLE, "data.train.0.columns={text: 1, second: 2}"],
            "is absent, but other columns go by position",
        ),
        ([*TABLE, "data.train.0.columns={text: 0, second: 2, label: 3}"], "must be a position, from 1, but is 0"),
        (["data.train.0.columns.txt=a"], "override data.train.0.columns.txt=a: data.train.0.columns.txt is not a key"),
        (
            [*SINGLE, "data.train.0.columns.second=b"],
            "gives single texts, but data.train.0 gives pairs",
        ),
        (
            [*SINGLE, *TABLE, "data.train.0.format=pubmedqa", "data.train.0.columns.text=a"],
            "is given, but PubMedQA's",
        ),
        (["data.labels=[entailment]"], "override data.labels=[entailment]: entailment is the only class"),
        (["data.labels=[a, b, '-']"], "override data.labels=[a, b, '-'] data.labels.2: - marks a pair without"),
        (["data.labels=[a, '']"], "override data.labels=[a, ''] data.labels.1: is empty"),
        (["data.multi_label=true"], "override data.multi_label=true: true belongs to task classification, not nli"),
        (
            [*SINGLE, "data.train.0={path: train.jsonl, format: pubmedqa, columns: {label: MESHES}}"],
            "MESHES is a list of labels (set data.multi_label=true)",
        ),
        ([*SINGLE, *TABLE, "data.multi_label=true", "data.labels=[a|b]"], "override data.labels=[a|b]: a|b holds |"),
        (["data.max_windows=2"], "override data.max_windows=2: belongs to task classification: nli leaves no window"),
        (
            [*SINGLE, "data.train.0.columns.second=b", "data.max_windows=2"],
            "is given, but a pair of texts is always one window",
        ),
        (["data.train.0.annotates=[neutral]"], "override data.train.0.annotates=[neutral]: task nli has one label"),
        (["evaluate.metric=example_f1"], "override evaluate.metric=example_f1: example_f1 is not a metric of task nli"),
        (["evaluate.metric=loss"], "override evaluate.metric=loss evaluate.mode: max would keep the worst model"),
        (["data.pool=sum"], "override data.pool=sum: must be one of mean, max, but is sum"),
    ],
)
def test_rules_of_texts(overrides: list[str], said: str) -> None:
    found = problems(*overrides)
    assert any(said in problem for problem in found), found
