"""Entity scores as seqeval gives them: micro-averaged over exact spans; its default mode, lenient about broken tags, or
its strict one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any, NotRequired, TypedDict, cast


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


class MergedResult(EntityResult):
    """Scores over several corpora together, and of each on the types it annotates. `macro_f1` is the mean of the
    corpora's F1. Of a single corpus neither is there."""

    macro_f1: NotRequired[float]
    corpora: NotRequired[dict[str, EntityResult]]


def entity_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], types: Sequence[str], strict: bool = False
) -> EntityResult:
    """Scores of predicted tag sequences (IOB2) against gold ones.

    An I- that continues no mention of its type begins one; ``strict`` takes such tags for no mention at all.

    Every type of `types` is in the result, in that order, then any other found in the tags. What is undefined (no
    mention, none predicted, no tag at all) is 0. Raises ValueError where the sequences do not match in number or
    length, naming the first such sequence.
    """
    _check_shape(gold, predicted)
    if not gold:
        return EntityResult(precision=0.0, recall=0.0, f1=0.0, accuracy=0.0, types={name: _none() for name in types})
    # sklearn comes with seqeval: half a second that only a run that scores should pay.
    from seqeval.metrics.sequence_labeling import accuracy_score, get_entities, precision_recall_fscore_support

    # seqeval tells nested input by its type: tuples would silently be read as tags.
    true, guess = [list(tags) for tags in gold], [list(tags) for tags in predicted]
    scored = partial(precision_recall_fscore_support, true, guess, zero_division=0)
    found = sorted({kind for tags in (true, guess) for kind, _, _ in get_entities(tags)})
    if strict:
        from seqeval.metrics import v1
        from seqeval.scheme import IOB2, Entities

        scored = partial(v1.precision_recall_fscore_support, true, guess, zero_division=0, scheme=IOB2)
        found = sorted(Entities(true, IOB2).unique_tags | Entities(guess, IOB2).unique_tags)
    precision, recall, f1, _ = scored(average="micro") if found else (0.0, 0.0, 0.0, 0)
    return EntityResult(
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        accuracy=float(accuracy_score(true, guess)) if any(true) else 0.0,
        types=_by_type(found, scored(average=None) if found else (), types),
    )


def merged_scores(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    types: Sequence[str],
    corpora: Mapping[str, tuple[range, Sequence[str]]],
) -> MergedResult:
    """`entity_scores` over all sentences, and by corpus where there are several.

    `corpora` gives of each the numbers of its sentences and the types it annotates. Predictions of other types must
    have been taken out: they are neither right nor wrong there. Raises ValueError as `entity_scores` does.
    """
    result = cast(MergedResult, entity_scores(gold, predicted, types))
    if len(corpora) > 1:
        result["corpora"] = {
            name: entity_scores(gold[own.start : own.stop], predicted[own.start : own.stop], annotated)
            for name, (own, annotated) in corpora.items()
        }
        result["macro_f1"] = fmean(scores["f1"] for scores in result["corpora"].values())
    return result


def _by_type(found: Sequence[str], columns: Sequence[Any], types: Sequence[str]) -> dict[str, TypeScores]:
    """Of the types found in the tags, in their order: columns of precision, recall, F1 and support."""
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
