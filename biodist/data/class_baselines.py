"""Baselines without a neural network for texts and pairs: what a model must beat before it has learnt anything.

Each reads records and predicts classes for records, by their position in ``labels``; scoring is another's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biodist.data.records import TextRecord

TOKEN = r"(?u)\w+|[^\w\s]"  # words of one letter and marks too: no text is empty
Matrix = NDArray[np.int8]


@dataclass(frozen=True)
class ClassPredictions:
    """What one baseline says of each test record: its class, or of multi-label records its classes in order."""

    name: str
    classes: tuple[tuple[int, ...], ...]


def class_baselines(
    train: Sequence[TextRecord], test: Sequence[TextRecord], labels: Sequence[str], multi_label: bool, seed: int
) -> tuple[ClassPredictions, ...]:
    """Every baseline that fits: hypothesis-only is for pairs alone."""
    found = [majority(train, test, labels, multi_label), stratified(train, test, labels, multi_label, seed)]
    if train[0].texts[1:]:
        found.append(linear_texts(train, test, labels, multi_label, seed, only_second=True))
    return (*found, linear_texts(train, test, labels, multi_label, seed))


def majority(
    train: Sequence[TextRecord], test: Sequence[TextRecord], labels: Sequence[str], multi_label: bool
) -> ClassPredictions:
    """The commonest class of train for every record; of several labels all that most samples have, or the commonest.

    Of classes equally frequent the first in ``labels`` is taken.
    """
    counts = _matrix(train, labels).sum(axis=0)
    usual = np.flatnonzero(2 * counts > len(train)) if multi_label else ()
    guess = tuple(int(number) for number in usual) or (int(np.argmax(counts)),)
    return ClassPredictions("majority", (guess,) * len(test))


def stratified(
    train: Sequence[TextRecord], test: Sequence[TextRecord], labels: Sequence[str], multi_label: bool, seed: int
) -> ClassPredictions:
    """A guess by each class's share of train, whatever the text; of several labels each on its own."""
    shares = _matrix(train, labels).mean(axis=0)
    random = np.random.Generator(np.random.Philox(seed))
    if multi_label:
        return ClassPredictions("stratified guess", _rows(random.random((len(test), len(labels))) < shares))
    drawn = random.choice(len(labels), size=len(test), p=shares / shares.sum())
    return ClassPredictions("stratified guess", tuple((int(number),) for number in drawn))


def linear_texts(
    train: Sequence[TextRecord],
    test: Sequence[TextRecord],
    labels: Sequence[str],
    multi_label: bool,
    seed: int,
    only_second: bool = False,
) -> ClassPredictions:
    """Logistic regression on TF-IDF of words and pairs of words, those of each side of a pair apart.

    Classes are weighed by their rarity, since F1 is what is compared; several labels are decided one against the rest.
    ``only_second`` sees the second text of a pair alone (hypothesis-only): what it knows is in the labels' own making.
    """
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    sides = [1] if only_second else range(len(train[0].texts))
    words = {"token_pattern": TOKEN, "ngram_range": (1, 2), "sublinear_tf": True, "dtype": np.float32}
    vectorizers = [TfidfVectorizer(**words) for _ in sides]

    known = [_side(train, side) for side in sides]
    fitted = hstack([each.fit_transform(texts) for each, texts in zip(vectorizers, known, strict=True)], format="csr")
    asked = [_side(test, side) for side in sides]
    seen = hstack([each.transform(texts) for each, texts in zip(vectorizers, asked, strict=True)], format="csr")
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000, random_state=seed)
    matrix = _matrix(train, labels)
    name = "second text only (hypothesis)" if only_second else "TF-IDF, logistic regression"
    if multi_label:
        return ClassPredictions(name, _rows(OneVsRestClassifier(model).fit(fitted, matrix).predict(seen)))
    predicted = model.fit(fitted, matrix.argmax(axis=1)).predict(seen)
    return ClassPredictions(name, tuple((int(number),) for number in predicted))


def _side(records: Sequence[TextRecord], side: int) -> list[str]:
    return [record.texts[side] for record in records]


def _matrix(records: Sequence[TextRecord], labels: Sequence[str]) -> Matrix:
    """0/1, records by classes."""
    numbers = {label: number for number, label in enumerate(labels)}
    matrix = np.zeros((len(records), len(labels)), dtype=np.int8)
    for row, record in enumerate(records):
        matrix[row, [numbers[label] for label in record.labels]] = 1
    return matrix


def _rows(matrix: NDArray[np.generic]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(number) for number in np.flatnonzero(row)) for row in matrix)
