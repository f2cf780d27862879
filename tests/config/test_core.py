"""The core: a run's identity, the same for every attempt."""

from __future__ import annotations

import re

from biodist.config.core import core, core_differences, core_digest
from biodist.config.loading import load_recipe
from biodist.config.recipe import Recipe


def ncbi(*overrides: str) -> Recipe:
    return load_recipe("ncbi-disease", overrides, check_files=False)


def test_what_may_change_between_attempts_is_no_part_of_it() -> None:
    free = ncbi(
        "name=other",
        "train.micro_batch=4",
        "train.padding=batch",
        "distributed.strategy=zero3",
        "checkpoint.every_steps=7",
        "evaluate.every=3",
    )
    assert core_digest(free) == core_digest(ncbi()) and core_differences(free, ncbi()) == []
    checkpointing = ncbi().model_copy(
        update={"model": ncbi().model.model_copy(update={"activation_checkpointing": True})}
    )
    assert core_digest(checkpointing) == core_digest(ncbi())
    assert set(core(ncbi())) == {"task", "model", "data", "train"}


def test_every_other_key_changes_the_digest_and_is_named_with_both_values() -> None:
    other = ncbi("train.seed=1", "data.labels=[Disease, Gene]", "data.train.0.map={DISO: Disease}", "train.epochs=3")
    assert core_digest(other) != core_digest(ncbi())
    assert core_differences(ncbi(), other) == [
        "train.epochs: 10 and 3",
        "train.seed: 42 and 1",
        'data.labels.1: absent and "Gene"',
        'data.train.0.map.DISO: absent and "Disease"',
    ]


def test_the_digest_is_free_of_how_the_recipe_was_written() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", core_digest(ncbi()))
    assert core_digest(ncbi("train.learning_rate=0.00003")) == core_digest(ncbi("train.learning_rate=3e-5"))
    one, two = "data.train.0.map={A: Disease, B: Disease}", "data.train.0.map={B: Disease, A: Disease}"
    assert core_digest(ncbi(one)) == core_digest(ncbi(two))
