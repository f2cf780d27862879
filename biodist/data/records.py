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


@dataclass(frozen=True, slots=True)
class TextRecord:
    """One sample that is labelled as a whole: a text, or a pair of texts.

    ``document`` is its id in the file, or its number there; ``line`` the line (from 1) on which it begins. ``labels``
    is one class, or of multi-label samples none, one or several.
    """

    document: str
    corpus: str
    line: int
    texts: tuple[str, ...]
    labels: tuple[str, ...]
