"""Sweeps: what is wrong with one is said with its place, and the points of its space."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodist.config.document import parse_flow
from biodist.config.space import corners, grid, overrides, pruned, written
from biodist.config.sweep import Dimension
from biodist.config.sweep_loading import differences, find_sweep, is_sweep, load_sweep, sweep_files
from biodist.config.writing import sweep_yaml
from biodist.errors import UserError

RECIPE = """\
name: tiny
task: ner
model: {init: scratch, dropout: 0.1}
data:
  labels: [Disease]
  train: [{path: train.tsv, format: iob2}]
  validation: [{path: validation.tsv, format: iob2}]
train: {epochs: 2}
"""
SWEEP = """\
name: tiny
recipe: recipe.yaml
space:
  train.learning_rate: {loguniform: [1e-5, 1e-3]}
  train.schedule: {choice: [linear, constant]}
search: {searcher: tpe, trials: 4}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    Path("sweep.yaml").write_text(SWEEP)
    return tmp_path


def said(*words: str, sweep: str | None = None) -> str:
    """What is wrong with the sweep, with these overrides or in the place of it."""
    if sweep is not None:
        Path("sweep.yaml").write_text(sweep)
    with pytest.raises(UserError) as caught:
        load_sweep("sweep.yaml", words, check_files=False)
    return str(caught.value)


def in_space(line: str) -> str:
    return SWEEP.replace("  train.schedule: {choice: [linear, constant]}", f"  {line}")


@pytest.mark.parametrize(
    ("line", "place", "what"),
    [
        ("train.learnig_rate: {choice: [1]}", "sweep.yaml:5", "did you mean train.learning_rate?"),
        ("train.epochs: {choice: [1, 0]}", "sweep.yaml:5", "must be a whole number, at least 1, but is 0"),
        ("train.epochs: {uniform: [1, 3]}", "sweep.yaml:5", "use randint"),
        ("train.schedule: {uniform: [1, 3]}", "sweep.yaml:5", "list its values: choice"),
        ("train.eps: {loguniform: [0, 1]}", "sweep.yaml:5", "begin above 0"),
        ("train.eps: {uniform: [3, 1]}", "sweep.yaml:5", "goes from 3.0 to 1.0"),
        ("train.eps: {uniform: [1]}", "sweep.yaml:5", "must be a list of 2"),
        ("train.eps: {choice: [1], grid: [2]}", "sweep.yaml:5", "has choice and grid"),
        ("train.eps: {}", "sweep.yaml:5", "has none"),
        ("train.eps: {grid: [1, 2]}", "sweep.yaml:5", "set search.searcher=grid"),
        ("train.eps: {choice: []}", "sweep.yaml:5", "not empty"),
        ("train.eps: {choice: [1, 1]}", "sweep.yaml:5", "lists 1 2 times"),
        ("evaluate.test: {choice: [true, false]}", "sweep.yaml:5", "never reads the test split"),
        ("data.labels: {choice: [[Disease], [O]]}", "sweep.yaml:5", "cannot name an entity type"),
        ("train.eps: {choice: [1], when: {train.seed: 1}}", "sweep.yaml:5", "is not a key of the space"),
        ("train.eps: {choice: [1], when: {train.learning_rate: 1}}", "sweep.yaml:5", "has no listed values"),
        ("train.eps: {choice: [1], when: {train.eps: 1}}", "sweep.yaml:5", "waits for itself"),
        ("train.warmup_ratio: {uniform: [0.5, 1.5]}", "sweep.yaml:5", "at most 1"),
    ],
)
def test_a_wrong_key_of_the_space(folder: Path, line: str, place: str, what: str) -> None:
    text = said(sweep=in_space(line))
    assert what in text and place in text, text


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["metric=bleu"], "bleu is not a metric of task ner (one of f1"),
        (["metric=loss"], "max would keep the worst model"),
        (["search.trials=0"], "at least 1, but is 0"),
        (["search.trials=null"], "give the number of configurations"),
        (["search.max_hours=-1"], "above 0"),
        (["search.searcher=grid"], "loguniform is not for searcher grid"),
        (["search.searchr=grid"], "did you mean search.searcher"),
        (["train.epoch=3"], "did you mean train.epochs"),
        (["data.validation=null"], "data.validation"),
        (["data.validation=[]"], "no trial reports f1: data.validation of the recipe is empty"),
        (["recipe=nowhere.yaml"], "there is no such file"),
    ],
)
def test_a_wrong_sweep(folder: Path, words: list[str], what: str) -> None:
    text = said(*words)
    assert what in text, text


def test_every_problem_is_listed_at_once(folder: Path) -> None:
    text = said("train.epoch=3", sweep=SWEEP.replace("tpe", "tpee").replace("recipe.yaml", "recipe.yaml\nmood: max"))
    assert all(word in text for word in ("train.epochs", "tpe", "mode")), text


def test_a_grid_is_counted(folder: Path) -> None:
    Path("sweep.yaml").write_text(
        in_space("train.eps: {grid: [1, 2, 3]}").replace("loguniform: [1e-5, 1e-3]", "choice: [1, 2]")
    )
    text = said("search.searcher=grid")
    assert "is 4, but the grid has 6 configurations" in text
    assert load_sweep("sweep.yaml", ["search.searcher=grid", "search.trials=null"], False).sweep.search.trials is None


def test_a_condition_leaves_out_its_key(folder: Path) -> None:
    space = {
        "b": Dimension(choice=("1", "2"), when={"a": ["x", "y"]}),
        "a": Dimension(choice=("x", "z")),
    }
    assert pruned(space, {"a": "z", "b": "1"}) == {"a": "z"}
    assert list(pruned(space, {"a": "x", "b": "1"})) == ["b", "a"]
    assert list(grid(space)) == [{"b": "1", "a": "x"}, {"a": "z"}, {"b": "2", "a": "x"}]


def test_a_large_space_is_tried_at_each_value_once() -> None:
    space = {f"k{n}": Dimension(uniform=(0, 1)) for n in range(20)}
    tried = list(corners(space))
    assert len(tried) == 22 and {tuple(one.values()) for one in tried} >= {(0.0,) * 20, (1.0,) * 20}


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers()))
def test_a_number_is_written_to_the_last_bit(value: float) -> None:
    assert float(parse_flow(written(value), "override")) == float(value)


@given(st.recursive(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=9), st.lists, max_leaves=4))
def test_a_listed_value_is_read_back(value: object) -> None:
    assert parse_flow(written(value), "override") == value


def test_a_resolved_sweep_is_the_same_sweep(folder: Path) -> None:
    before = load_sweep("sweep.yaml", check_files=False)
    Path("resolved.yaml").write_text(sweep_yaml(before.sweep))
    after = load_sweep("resolved.yaml", check_files=False)
    assert after.digest == before.digest and not differences(before, after)


def test_the_budget_is_no_part_of_what_a_sweep_is(folder: Path) -> None:
    before = load_sweep("sweep.yaml", check_files=False)
    more = load_sweep("sweep.yaml", ["search.trials=9", "search.max_hours=2", "name=other"], False)
    other = load_sweep("sweep.yaml", ["search.seed=1", "train.epochs=3"], False)
    assert more.digest == before.digest != other.digest
    assert differences(before, other) == [
        "sweep.search.seed: 42 and 1",
        "core.train.epochs: 2 and 3",
    ]


def test_trials_leave_test_alone_and_the_best_recipe_does_not(folder: Path) -> None:
    stated = load_sweep("sweep.yaml", check_files=False)
    settings = {"train.learning_rate": 1e-4, "train.schedule": "constant"}
    trial, best = stated.trial_recipe(settings), stated.best_recipe(settings)
    assert not trial.evaluate.test and best.evaluate.test
    assert trial.train == best.train and trial.train.schedule == "constant"
    assert overrides(settings) == ("train.learning_rate=0.0001", "train.schedule=constant")


def test_sweeps_that_come_with_biodist(folder: Path) -> None:
    names = sweep_files()
    assert sorted(names) == ["mednli", "merged-ner", "ncbi-disease", "quickstart"]
    for name, path in names.items():
        stated = load_sweep(f"sweeps/{name}", check_files=False)
        assert stated.sweep.name == name and path.read_text().startswith("# ")
        assert is_sweep(f"sweeps/{name}") and is_sweep(str(path)) and not is_sweep(stated.sweep.recipe)


def test_the_nearest_sweep_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean sweeps/quickstart\?"):
        find_sweep("sweeps/quikstart")
