"""Samples that occur again, found by digest: 32 bytes a sample are kept, no text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

REPEAT_WORDS = 5  # shorter samples (headings, list marks) repeat by nature
PAIRS_SHOWN = 20


@dataclass(frozen=True)
class Repeats:
    """``repeated``: samples that occurred before. ``contradictions``: further ways in which such a one is labelled.

    Two samples are one where their letters and digits agree, case apart. ``lines`` are the lines (first, otherwise
    labelled) of the first few contradictions.
    """

    repeated: int
    contradictions: int
    lines: tuple[tuple[int, int], ...]


class Repetition:
    """Takes in samples one by one; ``repeats`` says what was seen twice."""

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[int, bytes]] = {}
        self._otherwise: set[tuple[bytes, bytes]] = set()
        self._repeated = 0
        self._pairs: list[tuple[int, int]] = []

    def add(self, line: int, words: Sequence[Sequence[str]], labels: object) -> None:
        """One sample: where it begins, the words of each of its texts, and how it is labelled (by its `repr`).

        A sample under five words or without a letter or digit is never a duplicate.
        """
        if sum(map(len, words)) < REPEAT_WORDS:
            return
        letters = ["".join(filter(str.isalnum, "".join(side).lower())) for side in words]
        if not any(letters):
            return
        key, labelled = _digest("\0".join(letters)), _digest(repr(labels))
        first_line, first_labelled = self._first.setdefault(key, (line, labelled))
        if first_line == line:
            return
        self._repeated += 1
        if labelled != first_labelled and (key, labelled) not in self._otherwise:
            self._otherwise.add((key, labelled))
            if len(self._pairs) < PAIRS_SHOWN:
                self._pairs.append((first_line, line))

    @property
    def repeats(self) -> Repeats:
        return Repeats(self._repeated, len(self._otherwise), tuple(self._pairs))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
