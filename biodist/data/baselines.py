"""Two baselines without a neural network, to tell how much of a score is memory or a word's neighbours.

They read sentences as the generator gives them: tuples of (token, IOB2 tag). Scores are seqeval's, over entities:
micro-averaged, an entity counts when its type and both its ends are right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Sentence = Sequence[tuple[str, str]]
Span = tuple[int, int, str]  # first token, one past the last, type


@dataclass(frozen=True)
class EntityScore:
    """Entity-level precision, recall and F1 of one way to find names, each between 0 and 1."""

    name: str
    precision: float
    recall: float
    f1: float


def read_sentences(path: Path) -> list[Sentence]:
    """The sentences of a file the generator wrote (``token TAB tag``, empty line between sentences)."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    return [
        tuple((token, tag) for token, tag in (line.split("\t") for line in block.splitlines()))
        for block in blocks
        if block.strip()
    ]


class Dictionary:
    """The names of the training mentions, each with the type it had most often; of types equally frequent the
    alphabetically first. Compares case-sensitively, token by token."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        self._names: dict[tuple[str, ...], str] | None = None
        self._longest = 0

    def learn(self, name: Sequence[str], kind: str) -> None:
        """One mention: its tokens and its type."""
        self._types[tuple(name)][kind] += 1
        self._names = None

    def spans(self, tokens: Sequence[str]) -> list[Span]:
        """The longest match at each place, from left to right."""
        if self._names is None:
            commonest = {
                name: min(counts, key=lambda kind: (-counts[kind], kind)) for name, counts in self._types.items()
            }
            self._names, self._longest = commonest, max(map(len, commonest), default=0)
        found: list[Span] = []
        place = 0
        while place < len(tokens):
            for length in range(min(self._longest, len(tokens) - place), 0, -1):
                kind = self._names.get(tuple(tokens[place : place + length]))
                if kind is not None:
                    found.append((place, place + length, kind))
                    place += length
                    break
            else:
                place += 1
        return found


def dictionary_baseline(train: Sequence[Sentence], test: Sequence[Sentence]) -> EntityScore:
    """Marks what the `Dictionary` of the training mentions finds."""
    dictionary = Dictionary()
    for sentence in train:
        for first, end, kind in _spans(sentence):
            dictionary.learn([token for token, _ in sentence[first:end]], kind)
    return _score("dictionary", test, [_matched([token for token, _ in s], dictionary) for s in test])


def linear_baseline(train: Sequence[Sentence], test: Sequence[Sentence]) -> EntityScore:
    """A linear classifier of each token on the token, its last three letters, and the tokens before and after it.

    Logistic regression on one-hot features; each token is decided alone. A tag sequence it breaks is read as seqeval
    reads it: an I- tag that nothing began begins a name.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = DictVectorizer(dtype=np.float32)
    features = vectorizer.fit_transform(features for sentence in train for features in _features(sentence))
    tags = [tag for sentence in train for _, tag in sentence]
    model = LogisticRegression(C=3.0, max_iter=300, tol=4e-4).fit(features, tags)
    flat = iter(model.predict(vectorizer.transform(f for sentence in test for f in _features(sentence))))
    return _score("linear", test, [[str(next(flat)) for _ in sentence] for sentence in test])


def _features(sentence: Sentence) -> list[dict[str, str]]:
    tokens = ["<start>", *(token for token, _ in sentence), "<end>"]
    return [
        {"token": token, "ending": token[-3:], "before": before, "after": after}
        for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False)
    ]


def _matched(tokens: list[str], dictionary: Dictionary) -> list[str]:
    tags = ["O"] * len(tokens)
    for first, end, kind in dictionary.spans(tokens):
        tags[first:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - first - 1)]
    return tags


def _spans(sentence: Sentence) -> Iterable[Span]:
    from seqeval.metrics.sequence_labeling import get_entities

    return ((first, last + 1, kind) for kind, first, last in get_entities([tag for _, tag in sentence]))


def _score(name: str, test: Sequence[Sentence], predicted: list[list[str]]) -> EntityScore:
    from seqeval.metrics import f1_score, precision_score, recall_score

    gold = [[tag for _, tag in sentence] for sentence in test]
    precision, recall, f1 = (
        float(score(gold, predicted, zero_division=0)) for score in (precision_score, recall_score, f1_score)
    )
    return EntityScore(name, precision, recall, f1)
