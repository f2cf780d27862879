"""Samples that occur again, found by digest: no text is kept."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REPEAT_WORDS = 5  # shorter samples (headings, list marks) repeat by nature
PAIRS_SHOWN = 20
LAST_LINE = (1 << 32) - 1
NEITHER_LETTER_NOR_DIGIT = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Repeats:
    """``repeated``: samples that occurred before. ``contradictions``: further ways in which such a one is labelled.

    Two samples are one where their letters and digits agree, case apart. ``lines`` are the lines (first, otherwise
    labelled) of the first few contradictions.
    """

    repeated: int
    contradictions: int
    lines: tuple[tuple[int, int], ...]


def sample_key(texts: Sequence[Sequence[str]]) -> bytes | None:
    """What two copies of a sample have in common: a digest of the letters and digits of the words of its texts, in
    lower case. None for a sample under five words (headings, list marks), or without a letter or digit."""
    if sum(map(len, texts)) < REPEAT_WORDS:
        return None
    letters = [NEITHER_LETTER_NOR_DIGIT.sub("", "".join(words).lower()) for words in texts]
    return _digest("\0".join(letters)) if any(letters) else None


class Repetition:
    """Takes in samples one by one; ``repeats`` says what was seen twice. It keeps sixteen bytes of each, no text.

    Keys are cut to 64 bits and labels to 32: of ten million different samples two are taken for one with a
    probability of three in a million.
    """

    def __init__(self) -> None:
        self._keys = array("Q")
        self._labelled = array("Q")  # line, then how it is labelled: 32 bits each

    def add(self, line: int, key: bytes | None, labels: object) -> None:
        """One sample: where it begins, its `sample_key`, and how it is labelled (by its `repr`). One without a key is
        never a duplicate."""
        if key is None:
            return
        self._keys.append(int.from_bytes(key[:8], "little"))
        labelled = int.from_bytes(_digest(repr(labels))[:4], "little")
        self._labelled.append(min(line, LAST_LINE) << 32 | labelled)

    @property
    def repeats(self) -> Repeats:
        keys = np.frombuffer(self._keys, np.uint64)
        order = np.argsort(keys, kind="stable")  # copies of one sample side by side, as they came
        again = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
        is_first = np.ones(len(order), bool)
        is_first[again] = False
        first = order[is_first][np.cumsum(is_first) - 1]  # the first copy of each sample
        labelled = np.frombuffer(self._labelled, np.uint64)
        label = labelled & np.uint64(0xFFFFFFFF)
        otherwise = again[label[order[again]] != label[first[again]]]
        found: dict[tuple[int, int], tuple[int, int]] = {}
        for place in otherwise[np.argsort(order[otherwise], kind="stable")].tolist():
            this, one = int(order[place]), int(first[place])
            found.setdefault((one, int(label[this])), (one, this))
        lines = [(int(labelled[one]) >> 32, int(labelled[this]) >> 32) for one, this in found.values()]
        return Repeats(len(again), len(found), tuple(lines[:PAIRS_SHOWN]))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
