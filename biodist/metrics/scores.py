"""Entity scores as seqeval's default mode gives them: micro-averaged over exact spans, lenient about broken tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class TypeScores(TypedDict):
    """Scores of one entity type; `support` counts its gold mentions."""

    precision: float
    recall: float
    f1: float
    support: int


class EntityResult(TypedDict):
    """Scores over all types, between 0 and 1. `accuracy` is the share of tags that are right, O included."""

    precision: float
    recall: float
    f1: float
    accuracy: float
    types: dict[str, TypeScores]


def entity_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], types: Sequence[str]
) -> EntityResult:
    """Scores of predicted tag sequences against gold ones.

    Every type of `types` is in the result, in that order, then any other found in the tags. What is undefined (no
    mention, none predicted, no tag at all) is 0. Raises ValueError where the sequences do not match in number or
    length, naming the first such sequence.
    """
    _check_shape(gold, predicted)
    if not gold:
        return EntityResult(precision=0.0, recall=0.0, f1=0.0, accuracy=0.0, types={name: _none() for name in types})
    # sklearn comes with seqeval: half a second that only a run that scores should pay.
    from seqeval.metrics.sequence_labeling import accuracy_score, precision_recall_fscore_support

    # seqeval tells nested input by its type: tuples would silently be read as tags.
    true, guess = [list(tags) for tags in gold], [list(tags) for tags in predicted]
    precision, recall, f1, _ = precision_recall_fscore_support(true, guess, average="micro", zero_division=0)
    return EntityResult(
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        accuracy=float(accuracy_score(true, guess)) if any(true) else 0.0,
        types=_by_type(true, guess, types),
    )


def _by_type(true: list[list[str]], guess: list[list[str]], types: Sequence[str]) -> dict[str, TypeScores]:
    from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

    found = sorted({kind for tags in (true, guess) for kind, _, _ in get_entities(tags)})
    columns = precision_recall_fscore_support(true, guess, average=None, zero_division=0)
    scores = {
        name: TypeScores(precision=float(p), recall=float(r), f1=float(f), support=int(support))
        for name, p, r, f, support in zip(found, *columns, strict=True)
    }
    order = [*types, *(name for name in found if name not in types)]
    return {name: scores.get(name, _none()) for name in order}


def _none() -> TypeScores:
    return TypeScores(precision=0.0, recall=0.0, f1=0.0, support=0)


def _check_shape(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(f"predicted must have {len(gold)} sequences as gold has, but has {len(predicted)}")
    for number, (true, guess) in enumerate(zip(gold, predicted, strict=True)):
        if len(true) != len(guess):
            raise ValueError(f"predicted[{number}] must have {len(true)} tags as gold has, but has {len(guess)}")
