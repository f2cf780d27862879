"""Scores of classes as scikit-learn gives them: one class a sample, or a set of them.

What is undefined (a class that never occurs, or is never predicted) is 0, without a warning. Averages over classes
are scikit-learn's default: of one class a sample, over the classes that occur in truth or prediction; of sets, over
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray


class OfClass(TypedDict):
    """Scores of one class; `support` counts the samples whose truth it is."""

    precision: float
    recall: float
    f1: float
    support: int


class ClassResult(TypedDict):
    """Scores of a task with one class a sample. `precision`, `recall` and `f1` are macro averages; `matthews` lies
    between -1 and 1, the others between 0 and 1. `confusion[gold][predicted]` counts samples."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    macro_f1: float
    micro_f1: float
    matthews: float
    classes: dict[str, OfClass]
    confusion: list[list[int]]


class LabelSetResult(TypedDict):
    """Scores of a task with a set of classes a sample, between 0 and 1.

    `accuracy` is the share of samples whose whole set is right; `precision`, `recall` and `f1` are micro averages;
    `example_f1` is the mean of each sample's own F1.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    micro_f1: float
    macro_f1: float
    example_f1: float
    classes: dict[str, OfClass]


def class_scores(gold: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> ClassResult:
    """Scores of one class a sample: `gold` and `predicted` are positions in `classes`, (samples,).

    Raises:
        ValueError: they differ in number, or hold a number that is no class's.
    """
    # scikit-learn is half a second that only a run that scores should pay.
    from sklearn.metrics import (
        accuracy_score,
        confusion_matrix,
        f1_score,
        matthews_corrcoef,
        precision_recall_fscore_support,
    )

    true, guess = _numbers(gold, "gold", len(classes)), _numbers(predicted, "predicted", len(classes))
    if len(true) != len(guess):
        raise ValueError(f"predicted must have {len(true)} samples as gold has, but has {len(guess)}")
    numbers = list(range(len(classes)))
    if not len(true):
        return ClassResult(
            accuracy=0.0,
            precision=0.0,
            recall=0.0,
            f1=0.0,
            macro_f1=0.0,
            micro_f1=0.0,
            matthews=0.0,
            classes=_by_class(np.zeros((4, len(classes))), classes),
            confusion=[[0] * len(classes) for _ in classes],
        )
    precision, recall, macro, _ = precision_recall_fscore_support(true, guess, average="macro", zero_division=0)
    columns = precision_recall_fscore_support(true, guess, labels=numbers, average=None, zero_division=0)
    return ClassResult(
        accuracy=float(accuracy_score(true, guess)),
        precision=float(precision),
        recall=float(recall),
        f1=float(macro),
        macro_f1=float(macro),
        micro_f1=float(f1_score(true, guess, average="micro", zero_division=0)),
        # Of one class alone it is 0, and scikit-learn would warn.
        matthews=float(matthews_corrcoef(true, guess)) if len(np.union1d(true, guess)) > 1 else 0.0,
        classes=_by_class(columns, classes),
        confusion=confusion_matrix(true, guess, labels=numbers).tolist(),
    )


def label_set_scores(gold: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> LabelSetResult:
    """Scores of a set of classes a sample: `gold` and `predicted` are rows of 0 and 1, (samples, classes).

    Raises:
        ValueError: a table of another shape, or with another value than 0 and 1.
    """
    from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

    true, guess = _sets(gold, "gold", len(classes)), _sets(predicted, "predicted", len(classes))
    if len(true) != len(guess):
        raise ValueError(f"predicted must have {len(true)} samples as gold has, but has {len(guess)}")
    if not len(true):
        return LabelSetResult(
            accuracy=0.0,
            precision=0.0,
            recall=0.0,
            f1=0.0,
            micro_f1=0.0,
            macro_f1=0.0,
            example_f1=0.0,
            classes=_by_class(np.zeros((4, len(classes))), classes),
        )
    if len(classes) == 1:  # scikit-learn takes one column for two classes; a second, always empty, changes nothing
        true, guess = (np.hstack([rows, np.zeros_like(rows)]) for rows in (true, guess))
    precision, recall, micro, _ = precision_recall_fscore_support(true, guess, average="micro", zero_division=0)
    columns = [
        column[: len(classes)] for column in precision_recall_fscore_support(true, guess, average=None, zero_division=0)
    ]
    return LabelSetResult(
        accuracy=float(accuracy_score(true, guess)),
        precision=float(precision),
        recall=float(recall),
        f1=float(micro),
        micro_f1=float(micro),
        macro_f1=float(np.average(columns[2])),
        example_f1=float(f1_score(true, guess, average="samples", zero_division=0)),
        classes=_by_class(columns, classes),
    )


def _numbers(given: ArrayLike, name: str, classes: int) -> NDArray[np.int64]:
    numbers = np.asarray(given, dtype=np.int64)
    if numbers.ndim != 1:
        raise ValueError(f"{name} must be one class number a sample, but has the shape {numbers.shape}")
    wrong = numbers[(numbers < 0) | (numbers >= classes)]
    if len(wrong):
        raise ValueError(f"{name} must hold class numbers from 0 to {classes - 1}, but holds {wrong[0]}")
    return numbers


def _sets(given: ArrayLike, name: str, classes: int) -> NDArray[np.int64]:
    rows = np.asarray(given, dtype=np.int64)
    if rows.size == 0:
        rows = rows.reshape(0, classes)
    if rows.ndim != 2 or rows.shape[1] != classes:
        raise ValueError(f"{name} must have a row of {classes} a sample, but has the shape {rows.shape}")
    if not np.isin(rows, (0, 1)).all():
        raise ValueError(f"{name} must hold 0 and 1 alone")
    return rows


def _by_class(columns: ArrayLike, classes: Sequence[str]) -> dict[str, OfClass]:
    return {
        name: OfClass(precision=float(p), recall=float(r), f1=float(f), support=int(support))
        for name, p, r, f, support in zip(classes, *np.asarray(columns), strict=True)
    }
