"""What every reader gives: one annotated sample, whatever the file it came from looked like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Entity:
    """A mention: tokens ``start`` to ``end`` of its record, ``end`` exclusive."""

    start: int
    end: int
    type: str


@dataclass(frozen=True, slots=True)
class Record:
    """One sample (a sentence) with its mentions.

    ``document`` is the document's id or its number within the file, ``corpus`` the name used in figures and
    sample ids, ``line`` the file's line (from 1) on which the sample begins.
    """

    document: str
    corpus: str
    line: int
    tokens: tuple[str, ...]
    entities: tuple[Entity, ...]
