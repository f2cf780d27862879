"""Seeded draws that give the same values on every machine and Python version."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Value = TypeVar("Value")


class Draw:
    """A stream of random choices.

    Only ``random.Random.random`` is used: it is the one method whose values Python promises to keep from version
    to version; ``choice``, ``sample`` and ``shuffle`` may change.
    """

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit - 1``."""
        return int(self._random.random() * limit)

    def between(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def one(self, values: Sequence[Value]) -> Value:
        return values[self.below(len(values))]

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def weighted(self, values: Sequence[tuple[Value, float]]) -> Value:
        """One value of (value, weight) pairs."""
        point = self._random.random() * sum(weight for _, weight in values)
        for value, weight in values:
            point -= weight
            if point < 0:
                return value
        return values[-1][0]
