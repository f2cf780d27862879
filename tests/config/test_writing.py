"""A recipe written and loaded again is the same recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.config.core import core_digest
from biodist.config.loading import load_recipe
from biodist.config.recipe import (
    CheckpointSection,
    CorpusEntry,
    DataSection,
    ModelSection,
    Recipe,
    Temperature,
    TrainSection,
)
from biodist.config.writing import recipe_yaml

words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12).filter(lambda text: text.strip())
labels = st.sampled_from(["Disease", "NO", "null", "1e5", "true", "Zelllinie-ä", "~", "0x1F", "a:b", "#x"])
rates = st.floats(1e-12, 1e6, allow_nan=False)


@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    types=st.lists(labels, min_size=1, unique=True),
    source=words,
    rate=rates,
    moment=st.floats(0, 1, exclude_max=True),
    revision=words,
    micro_batch=st.integers(1, 10**12) | st.just("auto"),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_yaml_gives_an_equal_recipe(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    types: list[str],
    source: str,
    rate: float,
    moment: float,
    revision: str,
    micro_batch: int,
    seed: int,
) -> None:
    recipe = Recipe(
        name=name,
        task="ner",
        model=ModelSection(name="owner/name", revision=revision, dropout=moment),
        data=DataSection(
            labels=tuple(types),
            sampling=Temperature(temperature=rate),
            train=(CorpusEntry(path="/corpora/a b: ü.tsv", map={source: types[0]}, name="it's"),),
        ),
        train=TrainSection(max_steps=7, learning_rate=rate, betas=(moment, 0.5), micro_batch=micro_batch, seed=seed),
        checkpoint=CheckpointSection(asynchronous=False),
    )
    path = tmp_path_factory.getbasetemp() / "recipe.yaml"
    path.write_text(recipe_yaml(recipe), "utf-8", newline="")
    again = load_recipe(path, check_files=False)
    assert again == recipe and core_digest(again) == core_digest(recipe)


def test_loading_what_was_loaded_changes_nothing(tmp_path: Path) -> None:
    recipe = load_recipe("ncbi-disease", check_files=False)
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(recipe), "utf-8")
    assert load_recipe(path, check_files=False) == recipe
