"""What saving and loading need of the other ranks."""

from __future__ import annotations

from typing import Protocol, TypeVar

T = TypeVar("T")


class Ranks(Protocol):
    """The ranks of an attempt."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    def gather(self, value: T) -> list[T]:
        """Every rank's value, by rank, on every rank."""

    def share(self, value: T) -> T:
        """Rank 0's value, on every rank."""
