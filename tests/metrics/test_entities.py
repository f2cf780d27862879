"""The evaluate module: the plain function's numbers, nothing on disk, no hub."""

import os
import subprocess
import sys

import numpy as np
import pytest

from biodist.metrics.entities import EntityScores
from biodist.metrics.scores import entity_scores

pytestmark = pytest.mark.timeout(120)

TYPES = ("Disease", "Gene")
TAGS = ("O", "B-Disease", "I-Disease", "B-Gene", "I-Gene")
GOLD = [[], [1, 2, 0, 3], [0, 3, 4, 0, 1], [2, 0]]
PREDICTED = [[], [1, 2, 0, 1], [0, 3, 0, 0, 1], [2, 0]]


def named(sequences):
    return [[TAGS[tag] for tag in sequence] for sequence in sequences]


EXPECTED = entity_scores(named(GOLD), named(PREDICTED), TYPES)


def test_ids_in_batches_score_as_the_plain_function(tmp_path):
    metric = EntityScores(TYPES, tmp_path, TAGS)
    for part in (slice(0, 1), slice(1, 3), slice(3, 4)):
        arrays = [np.array(sequence, dtype=np.int16) for sequence in GOLD[part]]
        metric.add_batch(predictions=PREDICTED[part], references=arrays)
    assert metric.compute() == EXPECTED
    assert not list(tmp_path.iterdir())


def test_tags_score_as_ids_and_a_second_compute_starts_anew(tmp_path):
    metric = EntityScores(TYPES, tmp_path)
    for _ in range(2):
        metric.add_batch(predictions=named(PREDICTED), references=named(GOLD))
        assert metric.compute() == EXPECTED
    assert metric.compute(predictions=named(GOLD), references=named(GOLD))["f1"] == 1.0
    assert metric.compute() == entity_scores([], [], TYPES)


def test_an_id_without_a_tag_is_named(tmp_path):
    metric = EntityScores(TYPES, tmp_path, TAGS)
    metric.add_batch(predictions=[[5]], references=[[0]])
    with pytest.raises(ValueError, match="tag id must be between 0 and 4, but is 5"):
        metric.compute()


def test_nothing_is_written_under_home_or_the_cache(tmp_path):
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    cache.mkdir()
    code = (
        "import sys; from pathlib import Path; from biodist.metrics.entities import EntityScores\n"
        "metric = EntityScores(['Gene'], Path(sys.argv[1]))\n"
        "metric.add_batch(predictions=[['B-Gene']], references=[['B-Gene']])\n"
        "assert metric.compute()['f1'] == 1.0\n"
    )
    caches = ("HF_HOME", "XDG_CACHE_HOME", "HF_DATASETS_CACHE", "HF_METRICS_CACHE", "HF_EVALUATE_CACHE")
    environment = {name: value for name, value in os.environ.items() if name not in caches} | {"HOME": str(home)}
    subprocess.run([sys.executable, "-c", code, str(cache)], env=environment, check=True, timeout=100)
    assert [str(path) for folder in (home, cache) for path in folder.rglob("*") if path.is_file()] == []
    assert not list(cache.iterdir())
