"""Scores of classes as modules of `evaluate`, kept in the package: no hub, nothing written to disk.

Importing this costs what `evaluate` costs (datasets, transformers, torch); `biodist.metrics.classes` has the plain
functions without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import evaluate

from biodist.metrics.classes import ClassResult, LabelSetResult, class_scores, label_set_scores
from biodist.metrics.in_memory import MetricInMemory

__all__ = ["ClassScores", "LabelSetScores"]


class ClassScores(MetricInMemory):
    """`add_batch(predictions=…, references=…)` as often as needed, then `compute()`: the result of `class_scores`.

    Predictions and references are class numbers, one a sample: positions in `classes`.
    """

    def __init__(self, classes: Sequence[str], cache: Path):
        self.classes = tuple(classes)
        super().__init__(cache)

    def compute(self, **inputs: Any) -> ClassResult:
        """Scores all that was added, and forgets it; zeros when nothing was."""
        if self.writer is None and not inputs:
            return class_scores([], [], self.classes)
        result: ClassResult = super().compute(**inputs)
        return result

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, precision, recall, F1 and Matthews correlation, as scikit-learn has them.",
            citation="",
            inputs_description="predictions, references: class numbers.",
            features=datasets.Features({name: datasets.Value("int32") for name in ("predictions", "references")}),
        )

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> ClassResult:
        return class_scores(references, predictions, self.classes)


class LabelSetScores(MetricInMemory):
    """As `ClassScores`, for a set of classes a sample: the result of `label_set_scores`.

    Predictions and references are, for each sample, the numbers of its classes, in any order; none where it has none.
    """

    def __init__(self, classes: Sequence[str], cache: Path):
        self.classes = tuple(classes)
        super().__init__(cache)

    def compute(self, **inputs: Any) -> LabelSetResult:
        """Scores all that was added, and forgets it; zeros when nothing was."""
        if self.writer is None and not inputs:
            return label_set_scores([], [], self.classes)
        result: LabelSetResult = super().compute(**inputs)
        return result

    def _info(self) -> evaluate.MetricInfo:
        numbers = datasets.Sequence(datasets.Value("int32"))
        return evaluate.MetricInfo(
            description="Accuracy, precision, recall and F1 of sets of classes, as scikit-learn has them.",
            citation="",
            inputs_description="predictions, references: lists of class numbers, one list a sample.",
            features=datasets.Features(dict.fromkeys(("predictions", "references"), numbers)),
        )

    def _compute(self, predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]]) -> LabelSetResult:
        return label_set_scores(self._rows(references), self._rows(predictions), self.classes)

    def _rows(self, sets: Sequence[Sequence[int]]) -> list[list[int]]:
        for number in (number for numbers in sets for number in numbers):
            if not 0 <= number < len(self.classes):
                raise ValueError(f"class number must be between 0 and {len(self.classes) - 1}, but is {number}")
        return [[int(number in set(numbers)) for number in range(len(self.classes))] for numbers in sets]
