"""Overrides: where they go, what they are read as, and how they are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.config.document import Document, parse_document
from biodist.config.overrides import overridden

TEXT = """\
name: tiny
data:
  labels: [Disease]
  train: [{path: a.tsv, map: {DISO: Disease}}]
train:
  epochs: 3
"""


def document() -> Document:
    return parse_document(TEXT, "r.yaml")


def after(*overrides: str) -> Document:
    found = overridden(document(), overrides)
    assert found.problems == ()
    return found


def refusal(override: str) -> str:
    (problem,) = overridden(document(), [override]).problems
    assert problem.where == f"override {override}"
    return f"{problem.what} ({problem.do})"


def test_a_key_is_replaced_and_its_place_is_the_override() -> None:
    found = after("train.epochs=5")
    assert found.values["train"] == {"epochs": "5"}
    assert found.place(("train", "epochs")) == "override train.epochs=5"
    assert document().values["train"] == {"epochs": "3"}


def test_list_items_go_by_number_and_the_length_appends() -> None:
    found = after("data.train.0.path=b.tsv", "data.train.1.path=c.tsv", "data.train.1.format=iob2")
    first, second = found.values["data"]["train"]
    assert first == {"path": "b.tsv", "map": {"DISO": "Disease"}}
    assert second == {"path": "c.tsv", "format": "iob2"}
    assert found.place(("data", "train", 1, "name")) == "override data.train.1.path=c.tsv data.train.1.name"


def test_absent_sections_and_lists_are_made_as_the_schema_wants_them() -> None:
    found = after("data.test.0.path=t.tsv", "model.scratch.layers=1", "data.train.0.map.1=Disease")
    assert found.values["data"]["test"] == [{"path": "t.tsv"}]
    assert found.values["model"] == {"scratch": {"layers": "1"}}
    assert found.values["data"]["train"][0]["map"] == {"DISO": "Disease", "1": "Disease"}


def test_values_are_read_as_flow_or_as_they_stand() -> None:
    found = after(
        "data.labels=[Disease, 'Cell: line']",
        "distributed={strategy: zero3}",
        "data.train.0.path=a # b: c = d.tsv",
        "train.epochs=null",
        "model.name='[x'",
        "model.revision=",
    )
    assert found.values["data"]["labels"] == ["Disease", "Cell: line"]
    assert found.values["distributed"] == {"strategy": "zero3"}
    assert found.values["data"]["train"][0]["path"] == "a # b: c = d.tsv"
    assert found.values["train"]["epochs"] is None
    assert found.values["model"] == {"name": "[x", "revision": None}


def test_the_last_of_two_holds_and_a_whole_section_replaces_what_was_in_it() -> None:
    found = after("train.epochs=5", "train.epochs=6")
    assert found.values["train"]["epochs"] == "6"
    found = after("train={max_steps: 9}")
    assert found.values["train"] == {"max_steps": "9"}
    assert found.place(("train", "epochs")) == "override train={max_steps: 9} train.epochs"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epoch=5", "train.epoch is not a key of a recipe (did you mean train.epochs?)"),
        ("learning_rate=1", "learning_rate is not a key of a recipe (did you mean train.learning_rate?)"),
        ("train.learning_rat.x=1", "train.learning_rat is not a key of a recipe (did you mean train.learning_rate?)"),
        ("data.train.2.path=x", "data.train ends before item 2 (item 1 would append one)"),
        ("data.train.-1.path=x", "data.train is a list, but -1 is not the number of an item (items count from 0)"),
        ("data.train.path=x", "data.train is a list, but path is not the number of an item (items count from 0)"),
        ("train.epochs.x=1", "train.epochs is a single value, not a section (set train.epochs itself)"),
        ("train.epochs", "must be key=value with a dotted key (as in train.learning_rate=1e-5)"),
        ("train..epochs=1", "must be key=value with a dotted key (as in train.learning_rate=1e-5)"),
        ("=1", "must be key=value with a dotted key (as in train.learning_rate=1e-5)"),
    ],
)
def test_an_override_that_does_not_fit_says_so_and_changes_nothing(override: str, said: str) -> None:
    assert refusal(override) == said
    assert overridden(document(), [override]).values == document().values


@pytest.mark.parametrize("override", ["data.labels=[a, b", "data.labels={a: 1", 'name="x', "data.labels=[*a]"])
def test_unclosed_brackets_and_aliases_are_refused(override: str) -> None:
    assert refusal(override)
    assert overridden(document(), [override]).values == document().values


def test_every_faulty_override_is_named_at_once() -> None:
    found = overridden(document(), ["x", "train.epoch=1", "train.epochs=4", "data.train.9.path=z"])
    assert [problem.where for problem in found.problems] == [
        "override x",
        "override train.epoch=1",
        "override data.train.9.path=z",
    ]
    assert found.values["train"]["epochs"] == "4"


parts = st.sampled_from(["train", "data", "0", "1", "9", "path", "map", "labels", "epochs", "x", ""])
keys = st.lists(parts, min_size=1, max_size=5).map(".".join) | st.text(max_size=10)


@given(st.lists(st.tuples(keys, st.text(max_size=12)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_override_is_applied_or_named(pairs: list[tuple[str, str]]) -> None:
    given_ones = [f"{key}={value}" for key, value in pairs]
    found = overridden(document(), given_ones)
    assert {problem.where for problem in found.problems} <= {f"override {text}" for text in given_ones}
    if not found.problems:
        assert all(origin.startswith(("override ", "r.yaml:")) for origin in found.origins.values())
