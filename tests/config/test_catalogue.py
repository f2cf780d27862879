"""The catalogue, and every recipe in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from biodist.config.catalogue import catalogue_folder, find_recipe, list_recipes
from biodist.config.loading import load_recipe
from biodist.errors import UserError

RECIPES = sorted(path for path in catalogue_folder().rglob("*.yaml") if path.parent.name != "sweeps")


def test_there_are_nineteen_recipes() -> None:
    assert [path.stem for path in RECIPES] == [
        "ade-classification",
        "biobert-ner-chemical",
        "biobert-ner-disease",
        "biobert-ner-gene",
        "biobert-ner-i2b2-2010",
        "biobert-ner-species",
        "clinicalbert-classification",
        "craft-ner-biobert-augmented",
        "craft-ner-biobert",
        "craft-ner-es-roberta-augmented",
        "craft-ner-es-roberta",
        "hoc-documents",
        "mednli-biolinkbert-base",
        "mednli-biolinkbert-large",
        "merged-ner-biolinkbert-large",
        "ncbi-disease",
        "pharmaconer-es",
        "pubmedqa-biolinkbert-large",
        "quickstart",
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_is_named_like_its_file(path: Path) -> None:
    recipe = load_recipe(path, check_files=False)
    assert recipe.name == path.stem
    summary = next(one for one in list_recipes() if one.path == path)
    assert summary.task == recipe.task and summary.summary


def test_a_recipe_is_found_by_path_by_name_and_by_its_path_in_a_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = catalogue_folder() / "ncbi-disease.yaml"
    for name in ("ncbi-disease", "ncbi-disease.yaml", "recipes/ncbi-disease.yaml", expected):
        assert find_recipe(name) == expected
    Path("ncbi-disease.yaml").write_text("name: mine\n")
    assert find_recipe("ncbi-disease.yaml") == Path("ncbi-disease.yaml")


@pytest.mark.parametrize("name", ["ncbi-diseas", "recipes/ncbi_disease.yaml"])
def test_the_nearest_name_is_given(name: str) -> None:
    with pytest.raises(UserError, match=r"did you mean ncbi-disease\?"):
        find_recipe(name)


@pytest.mark.parametrize("name", ["qqqqqqqq", "x" * 5000, "a\0b", ""])
def test_a_name_that_is_nothing_is_refused(name: str) -> None:
    with pytest.raises(UserError):
        find_recipe(name)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        find_recipe(tmp_path)
