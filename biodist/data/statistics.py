"""`data stats`: how large corpora are, how their labels spread, and what is had without learning anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from biodist.data.baselines import Dictionary, EntityScore
from biodist.data.records import Record, TextRecord

Name = tuple[tuple[str, ...], str]  # the words of a mention in lower case, and its type
LONGEST_COUNTED = 4096  # words; longer samples count as this long in the quantiles


@dataclass(frozen=True)
class TypeStatistics:
    """Mentions of one type: how many, how many different names, and the share whose name training has not."""

    mentions: int
    names: int
    unseen: float | None  # None for training itself, and for a type without a mention


@dataclass(frozen=True)
class WordStatistics:
    """Sentences of one file. ``lengths`` are words of a sentence: mean, median, 95 %, longest; ``inside`` is the share
    of words in a mention; ``accuracy`` of the majority baseline, which calls every word O."""

    path: str
    sentences: int
    tokens: int
    lengths: dict[str, float]
    inside: float
    types: dict[str, TypeStatistics]
    baselines: tuple[EntityScore, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {**asdict(self), "baselines": {each.name: _score(each) for each in self.baselines}}


@dataclass(frozen=True)
class TextStatistics:
    """Samples of one file that are labelled as wholes. ``majority`` is the share of them that training's commonest
    labels are right for."""

    path: str
    samples: int
    classes: dict[str, int]
    lengths: dict[str, float]
    majority: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)


def _score(score: EntityScore) -> dict[str, float]:
    return {"precision": score.precision, "recall": score.recall, "f1": score.f1}


class _Lengths:
    """Words of samples, counted by length."""

    def __init__(self) -> None:
        self._counts = np.zeros(LONGEST_COUNTED + 1, np.int64)
        self._words = self._longest = 0

    def add(self, words: int) -> None:
        self._counts[min(words, LONGEST_COUNTED)] += 1
        self._words, self._longest = self._words + words, max(self._longest, words)

    def summary(self) -> dict[str, float]:
        samples = int(self._counts.sum())
        if not samples:
            return {}
        below = np.cumsum(self._counts)
        median, most = (int(np.searchsorted(below, share * samples)) for share in (0.5, 0.95))
        return {"mean": self._words / samples, "median": median, "p95": most, "longest": self._longest}


class WordStudy:
    """Statistics of files of words. The first is training: the others are held against it."""

    def __init__(self) -> None:
        self._dictionary: Dictionary | None = None
        self._known: set[Name] = set()

    def add(self, path: str, records: Iterable[Record]) -> WordStatistics:
        """One file, gone through once. Raises what reading it raises."""
        training, dictionary = self._dictionary is None, self._dictionary or Dictionary()
        lengths, mentions, unseen = _Lengths(), Counter[str](), Counter[str]()
        names: set[Name] = set()
        sentences = tokens = inside = found = right = 0
        for record in records:
            sentences, tokens = sentences + 1, tokens + len(record.tokens)
            lengths.add(len(record.tokens))
            for each, name in _names(record):
                mentions[each] += 1
                names.add((name, each))
                unseen[each] += (name, each) not in self._known
            inside += sum(each.end - each.start for each in record.entities)
            if training:
                for entity in record.entities:
                    dictionary.learn(record.tokens[entity.start : entity.end], entity.type)
            else:
                said = set(dictionary.spans(record.tokens))
                found += len(said)
                right += len(said & {(each.start, each.end, each.type) for each in record.entities})
        types = {
            kind: TypeStatistics(
                count, sum(name[1] == kind for name in names), None if training else unseen[kind] / count
            )
            for kind, count in sorted(mentions.items())
        }
        if training:
            self._dictionary, self._known = dictionary, names
        scores = () if training else (_micro("dictionary", found, right, mentions.total()), _micro("majority", 0, 0, 0))
        return WordStatistics(path, sentences, tokens, lengths.summary(), inside / max(tokens, 1), types, scores)


def _names(record: Record) -> Iterator[tuple[str, tuple[str, ...]]]:
    for each in record.entities:
        yield each.type, tuple(word.lower() for word in record.tokens[each.start : each.end])


def _micro(name: str, found: int, right: int, there: int) -> EntityScore:
    precision, recall = right / found if found else 0.0, right / there if there else 0.0
    return EntityScore(name, precision, recall, 2 * right / (found + there) if right else 0.0)


class TextStudy:
    """Statistics of files of texts. The first is training: the others are held against it."""

    def __init__(self) -> None:
        self._usual: tuple[str, ...] | None = None

    def add(self, path: str, records: Iterable[TextRecord]) -> TextStatistics:
        """One file, gone through once. Raises what reading it raises."""
        lengths, classes, sets = _Lengths(), Counter[str](), Counter[tuple[str, ...]]()
        for record in records:
            lengths.add(sum(len(text.split()) for text in record.texts))
            classes.update(record.labels)
            sets[tuple(sorted(record.labels))] += 1
        samples = sets.total()
        if self._usual is None:
            self._usual = min(sets, key=lambda each: (-sets[each], each), default=())
            majority = None
        else:
            majority = sets[self._usual] / max(samples, 1)
        return TextStatistics(path, samples, dict(sorted(classes.items())), lengths.summary(), majority)
