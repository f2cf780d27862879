"""The evaluate modules: the plain functions' numbers, nothing on disk, no hub."""

import numpy as np
import pytest

from biodist.metrics.class_metrics import ClassScores, LabelSetScores
from biodist.metrics.classes import class_scores, label_set_scores

pytestmark = pytest.mark.timeout(120)

CLASSES = ("yes", "no", "maybe")
GOLD, PREDICTED = [0, 1, 2, 2, 0], [0, 2, 2, 1, 0]
GOLD_SETS, PREDICTED_SETS = [[0, 2], [], [1], [0, 1]], [[2], [], [1, 0], [1, 0]]


def rows(sets):
    return [[int(number in numbers) for number in range(len(CLASSES))] for numbers in sets]


def test_classes_in_batches_score_as_the_plain_function_and_a_second_compute_starts_anew(tmp_path):
    metric = ClassScores(CLASSES, tmp_path)
    for _ in range(2):
        for part in (slice(0, 2), slice(2, 5)):
            metric.add_batch(predictions=PREDICTED[part], references=np.array(GOLD[part], dtype=np.int16))
        assert metric.compute() == class_scores(GOLD, PREDICTED, CLASSES)
    assert metric.compute() == class_scores([], [], CLASSES)
    assert not list(tmp_path.iterdir())


def test_sets_in_batches_score_as_the_plain_function(tmp_path):
    metric = LabelSetScores(CLASSES, tmp_path)
    for part in (slice(0, 1), slice(1, 4)):
        metric.add_batch(predictions=PREDICTED_SETS[part], references=GOLD_SETS[part])
    assert metric.compute() == label_set_scores(rows(GOLD_SETS), rows(PREDICTED_SETS), CLASSES)
    assert metric.compute()["f1"] == 0.0
    metric.add_batch(predictions=[[3]], references=[[0]])
    with pytest.raises(ValueError, match="class number must be between 0 and 2, but is 3"):
        metric.compute()
    assert not list(tmp_path.iterdir())
