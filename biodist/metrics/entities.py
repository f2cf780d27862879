"""Entity scores as a module of `evaluate`, kept in the package: no hub, nothing written to disk.

Importing this costs what `evaluate` costs (datasets, transformers, torch); `biodist.metrics.scores` has the plain
function without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import evaluate

from biodist.metrics.in_memory import MetricInMemory
from biodist.metrics.scores import EntityResult, entity_scores

__all__ = ["EntityResult", "EntityScores", "entity_scores"]


class EntityScores(MetricInMemory):
    """`add_batch(predictions=…, references=…)` as often as needed, then `compute()`: the result of `entity_scores`.

    Predictions and references are sequences of ids into `tags`, or, where no `tags` are given, of the tags
    themselves.
    """

    def __init__(self, types: Sequence[str], cache: Path, tags: Sequence[str] = ()):
        self.types = tuple(types)
        self.tags = tuple(tags)
        super().__init__(cache)

    def compute(self, **inputs: Any) -> EntityResult:
        """Scores all that was added, and forgets it; zeros when nothing was."""
        if self.writer is None and not inputs:
            return entity_scores([], [], self.types)
        result: EntityResult = super().compute(**inputs)
        return result

    def _info(self) -> evaluate.MetricInfo:
        sequence = datasets.Sequence(datasets.Value("int32" if self.tags else "string"))
        return evaluate.MetricInfo(
            description="Precision, recall, F1 and accuracy of tagged entities, as seqeval's default mode gives them.",
            citation="",
            inputs_description="predictions, references: sequences of tags, or of tag ids.",
            features=datasets.Features({"predictions": sequence, "references": sequence}),
        )

    def _compute(self, predictions: Sequence[Sequence[Any]], references: Sequence[Sequence[Any]]) -> EntityResult:
        return entity_scores(self._named(references), self._named(predictions), self.types)

    def _named(self, sequences: Sequence[Sequence[Any]]) -> Sequence[Sequence[str]]:
        return [[self._name(tag) for tag in sequence] for sequence in sequences] if self.tags else sequences

    def _name(self, tag: int) -> str:
        if not 0 <= tag < len(self.tags):
            raise ValueError(f"tag id must be between 0 and {len(self.tags) - 1}, but is {tag}")
        return self.tags[tag]
