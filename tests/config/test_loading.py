"""Loading a recipe: types by the schema, every problem at once, each with its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biodist.config.corpora import views_of
from biodist.config.loading import load_recipe
from biodist.config.recipe import Recipe
from biodist.config.schema import keys
from biodist.errors import UserError

TINY = """\
name: tiny
task: ner
model:
  init: scratch
  scratch: {max_positions: 64, hidden_size: 32, heads: 4}
data:
  max_length: 64
  stride: 8
  labels: [Disease, Gene]
  train: [{path: train.tsv}]
  validation: [{path: devel.tsv}]
train:
  epochs: 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sound recipe and its corpora, and the current one."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    for name in ("train.tsv", "devel.tsv", "other.tsv"):
        (tmp_path / name).write_text("x\tO\n")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(*overrides: str, path: str = "tiny.yaml") -> list[str]:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def only(*overrides: str) -> str:
    (problem,) = problems(*overrides)
    return problem


def test_the_schema_makes_text_what_it_should_be(folder: Path) -> None:
    recipe = load_recipe("tiny.yaml", ["train.learning_rate=3e-5", "name=2024", "train.betas=[.9, 0.99]"])
    assert recipe.train.learning_rate == 3e-5 and recipe.name == "2024" and recipe.train.betas == (0.9, 0.99)
    recipe = load_recipe("tiny.yaml", ["train.micro_batch=8", "evaluate.every=20", "data.sensitive=true"])
    assert recipe.train.micro_batch == 8 and recipe.evaluate.every == 20 and recipe.data.sensitive is True
    assert load_recipe("tiny.yaml", ["data.labels=[NO, 1]"]).data.labels == ("NO", "1")


def test_paths_become_absolute_and_the_home_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "home").mkdir()
    (folder / "home" / "far.tsv").write_text("x\tO\n")
    (folder / "link.tsv").symlink_to(folder / "train.tsv")
    monkeypatch.setenv("HOME", str(folder / "home"))
    recipe = load_recipe("tiny.yaml", ["data.train.0.path=home/../link.tsv", "data.test.0.path=~/far.tsv"])
    assert recipe.data.train[0].path == str(folder.resolve() / "link.tsv")
    assert recipe.data.test[0].path == str(folder.resolve() / "home" / "far.tsv")
    assert recipe.data.train[0].corpus == "link"


def test_a_local_model_folder_becomes_absolute_and_a_hub_id_stays(folder: Path) -> None:
    (folder / "models" / "small").mkdir(parents=True)
    pretrained = ["model.init=pretrained"]
    assert load_recipe("tiny.yaml", [*pretrained, "model.name=models/small"]).model.name == str(
        folder.resolve() / "models" / "small"
    )
    assert load_recipe("tiny.yaml", [*pretrained, "model.name=owner/name"]).model.name == "owner/name"


def test_every_problem_of_file_overrides_rules_and_corpora_comes_at_once(folder: Path) -> None:
    (folder / "bad.yaml").write_text(
        TINY.replace("epochs: 2", "epochs: two\n  seed: 1\n  seed: 2\n  warmup: 0.1")
        .replace("stride: 8", "stride: 63")
        .replace("path: devel.tsv", "path: absent.tsv")
        .replace("[Disease, Gene]", "[Disease, Disease]")
    )
    assert problems("train.sed=4", "distributed.offload=cpu", "task=nerr", path="bad.yaml") == [
        "bad.yaml:15 train.seed: is already on line 14 (keep one of the two)",
        "override train.sed=4: train.sed is not a key of a recipe (did you mean train.seed?)",
        "override task=nerr: must be one of ner, nli, classification, qa, relation, but is nerr",
        "bad.yaml:13 train.epochs: must be a whole number, at least 1, but is two",
        "bad.yaml:16 train.warmup: warmup is not a key of train (did you mean train.warmup_ratio?)",
        "bad.yaml:8 data.stride: 63 must be below data.max_length - 2 (62), or no window advances "
        "(lower the stride: 64 is usual at 512)",
        "bad.yaml:9 data.labels.1: Disease is listed 2 times (keep one)",
        "override distributed.offload=cpu: cpu needs zero2 or zero3, but distributed.strategy is ddp "
        "(set distributed.strategy=zero2, or distributed.offload=none)",
        f"bad.yaml:11 data.validation.0.path: there is no file {folder.resolve()}/absent.tsv "
        f"(paths start at {folder.resolve()})",
    ]


def test_a_refused_value_is_no_reason_for_a_second_complaint(folder: Path) -> None:
    assert only("train.epochs=0") == "override train.epochs=0: must be a whole number, at least 1, but is 0"
    assert only("data.labels=Disease") == "override data.labels=Disease: must be a list, but is Disease"
    assert only("data.train=") == "override data.train=: must be a list, not empty, but is empty"
    assert only("model=") == "override model=: must be a section, but is empty"
    assert only("task=") == ("override task=: must be one of ner, nli, classification, qa, relation, but is empty")


def test_missing_keys_are_placed_in_their_section(folder: Path) -> None:
    (folder / "bare.yaml").write_text("# nothing\nname: bare\ndata:\n  labels: [A]\n  train:\n  - format: iob\n")
    assert problems(path="bare.yaml") == [
        "bare.yaml task: is required (add it: What is learnt.)",
        "bare.yaml model: is required (add it: Which encoder.)",
        "bare.yaml:6 data.train.0.path: is required "
        "(add it: File, relative to the folder the command runs in; ~ is the home.)",
        "bare.yaml train: is required (add it: The optimisation.)",
    ]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.max_steps=5"], "override train.max_steps=5: is given beside train.epochs (2)"),
        (["train.epochs=null"], "override train.epochs=null: neither epochs nor max_steps is given"),
        (["model.init=pretrained"], "tiny.yaml:3 model.name: is required"),
        (["model.name=x/y"], "override model.name=x/y: is x/y, but model.init: scratch starts from no encoder"),
        (["model.init=pretrained", "model.name=./none"], "override model.name=./none: ./none is neither a folder"),
        (["model.init=pretrained", "model.name=a/b/c"], "override model.name=a/b/c: a/b/c is neither a folder"),
        (["model.init=pretrained", "model.name=train.tsv"], "override model.name=train.tsv: "),
        (["model.scratch.heads=5"], "tiny.yaml:5 model.scratch.hidden_size: 32 is not divisible by"),
        (["model.scratch.max_positions=63"], "override model.scratch.max_positions=63: 63 is less than data.max"),
        (["data.stride=62"], "override data.stride=62: 62 must be below data.max_length - 2 (62)"),
        (["data.labels=[]"], "override data.labels=[]: is empty, but task ner needs"),
        (["data.labels=[O, Gene]"], "override data.labels=[O, Gene] data.labels.0: 'O' cannot name an entity"),
        (["data.labels=[Cell line]"], "override data.labels=[Cell line] data.labels.0: 'Cell line' cannot name"),
        (["data.train.0.annotates=[Gene]"], "tiny.yaml:9 data.labels: Disease is annotated by no training corpus"),
        (["data.train.0.annotates=[]", "data.labels=[]"], "override data.train.0.annotates=[]: is an empty list"),
        (["data.train.0.map={G: Gen}"], "override data.train.0.map={G: Gen} data.train.0.map.G: Gen is not in"),
        (["data.train.1.path=x/train.tsv"], "override data.train.1.path=x/train.tsv data.train.1.name: the corpus"),
        (["evaluate.metric=f2"], "override evaluate.metric=f2: f2 is not a metric of task ner"),
        (["evaluate.metric=loss"], "override evaluate.metric=loss evaluate.mode: max would keep the worst model"),
        (["data.train.0.path=" + "x" * 5000], "override data.train.0.path=xxx"),
        (["data.train.0.path=loop/x"], "override data.train.0.path=loop/x: there is no file"),
        (["model.init=pretrained", "model.name=" + "/x" * 5000], "override model.name=/x/x"),
        (["data.train.0.path=."], "override data.train.0.path=.: "),
        (["train.learning_rate=inf"], "override train.learning_rate=inf: must be a number, above 0, but is inf"),
        (["train.epochs=1.5"], "override train.epochs=1.5: must be a whole number, at least 1, but is 1.5"),
        (["data.sampling={temp: 2}"], "override data.sampling={temp: 2}: must be one of proportional, equal or"),
        (["train.betas=[0.9]"], "override train.betas=[0.9]: must be a list of 2, but is a list of 1"),
        (["model.after=x"], "override model.after=x: is given, but model.init: scratch starts from no model"),
        (
            ["model.init=pretrained", "model.name=a/b", "model.after=x"],
            "override model.after=x: is given beside model.",
        ),
        (["data.augment={share: 2}"], "override data.augment={share: 2}"),
        (
            ["data.augment={share: 0.5, sources: [none.obo]}"],
            "override data.augment={share: 0.5, sources: [none.obo]} data.augment.sources.0: there is no file",
        ),
        (
            ["data.augment={share: 0.5}", "data.augment.sources=[corpus, corpus]"],
            "override data.augment.sources=[corpus, corpus] data.augment.sources.1: corpus is there twice",
        ),
        (["data.augment={share: 0.5}", "data.augment.sources=[]"], "override data.augment.sources=[]: must be a list"),
        (["data.augment={share: 0.5, map: {A: Gene}}"], "override data.augment={share: 0.5, map: {A: Gene}}"),
        (["data.augment={share: 1, sources: [other.tsv], map: {A: Gen}}"], "override data.augment={share: 1, sources"),
        (["name=../x"], "override name=../x: must be text, of at most 100, matching"),
    ],
)
def test_rules_between_keys(folder: Path, overrides: list[str], said: str) -> None:
    assert any(problem.startswith(said) for problem in problems(*overrides))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task=qa"], "override task=qa: qa is part of the recipe, but this version does not do it yet"),
        (["distributed.offload=cpu"], "override distributed.offload=cpu: cpu needs zero2 or zero3"),
    ],
)
def test_what_is_not_there_yet_is_refused_by_name(folder: Path, overrides: list[str], said: str) -> None:
    assert only(*overrides).startswith(said)


PARTIAL = ["data.train.0.annotates=[Gene]", "data.train.1={path: other.tsv, annotates: [Disease]}"]


@pytest.mark.parametrize("merge", ["marginal", "masked", "naive", "tagged"])
def test_corpora_may_annotate_different_types(folder: Path, merge: str) -> None:
    recipe = load_recipe("tiny.yaml", [*PARTIAL, f"data.merge={merge}", "data.sampling={temperature: 2}"])
    assert recipe.data.merge == merge and views_of(recipe) == (("Gene",), ("Disease",), ("Disease", "Gene"))


def test_the_metric_may_be_that_of_one_corpus_or_their_mean(folder: Path) -> None:
    two = "data.validation.1={path: other.tsv, name: o}"
    for metric in ("f1", "macro_f1", "devel.f1", "o.recall"):
        assert load_recipe("tiny.yaml", [two, f"evaluate.metric={metric}"]).evaluate.metric == metric
    assert only(two, "evaluate.metric=p.f1").startswith(
        "override evaluate.metric=p.f1: p.f1 is not a metric of task ner"
    )
    said = only("evaluate.metric=macro_f1")
    assert "macro_f1 is not a metric of task ner, and devel is the only corpus of data.validation" in said
    # Nothing is chosen where nothing is validated: a recipe with its validation taken away keeps its metric.
    load_recipe("tiny.yaml", ["data.validation=[]", "evaluate.metric=o.f1"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_corpus_is_named(folder: Path) -> None:
    (folder / "train.tsv").chmod(0)
    assert "no permission" in only()


def test_files_need_not_be_there_when_nobody_asks(folder: Path) -> None:
    recipe = load_recipe("tiny.yaml", ["data.train.0.path=none.tsv"], check_files=False)
    assert isinstance(recipe, Recipe) and recipe.data.train[0].path == str(folder.resolve() / "none.tsv")


def test_a_recipe_is_frozen(folder: Path) -> None:
    recipe = load_recipe("tiny.yaml")
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.seed = 3  # type: ignore[misc]


names = st.sampled_from([key.name.replace("N", "0") for key in keys()] + ["data", "train", "model", "data.train.0"])
values = st.sampled_from(["", "x", "-1", "3", "0.5", "[]", "{}", "[{}]", "[x, 1]", "{path: train.tsv}", "null", "cpu"])


@given(st.lists(st.tuples(names, values | st.text(max_size=6)), max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_overrides_give_a_recipe_or_named_problems(folder: Path, pairs: list[tuple[str, str]]) -> None:
    try:
        recipe = load_recipe("tiny.yaml", [f"{name}={value}" for name, value in pairs])
    except UserError as error:
        assert error.problems and all(problem.what for problem in error.problems)
        assert len(set(error.problems)) == len(error.problems)
    else:
        assert Recipe.model_validate(recipe.model_dump()) == recipe
