"""A document as a file has it, before anything in it is believed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from biodist.data.records import Piece
from biodist.data.text_file import FileProblems

LONGEST_ID_SHOWN = 40
LARGEST_GAP = 1 << 20  # characters between two passages; a larger one is a mistake, or an attack


@dataclass(slots=True)
class DraftMention:
    """A mention as written: ``line`` is where (the document's, in formats without lines of their own), ``covered`` the
    text that the file says it covers, if it says so."""

    line: int
    type: str
    pieces: list[Piece]
    covered: str | None = None
    score: float | None = None


@dataclass(slots=True)
class Draft:
    """A document as written; ``document`` is its id, empty where the file gives none. ``path`` is the file of its
    annotations where the corpus is a folder. ``found`` counts what the file calls a mention, those that were problems
    already among them."""

    document: str
    line: int
    text: str
    mentions: list[DraftMention] = field(default_factory=list)
    found: int = 0
    path: Path | None = None


@dataclass
class Findings:
    """What a reader notes beside its documents: problems, and how many things it passed over, by kind."""

    problems: FileProblems
    passed_over: Counter[str] = field(default_factory=Counter)


class Misplaced(ValueError):
    """Passages that do not lie one behind the other."""


def joined(passages: list[tuple[int, str]]) -> str:
    """The text of a document from its passages and where each begins: the offsets of the file stay what they are.

    What lies between two passages becomes a line end, and blanks where it is longer. Raises Misplaced.
    """
    parts: list[str] = []
    length = 0
    for offset, text in passages:
        gap = offset - length
        if gap < 0:
            raise Misplaced(f"a passage begins at {offset:,}, before the end of the one before it ({length:,})")
        if gap > LARGEST_GAP:
            raise Misplaced(f"a passage begins {gap:,} characters behind the one before it")
        parts.append(("\n" + " " * (gap - 1) if gap else "") + text)
        length = offset + len(text)
    return "".join(parts)


def shown_id(document: str) -> str:
    """A document's id in a message: printable, shortened."""
    text = document if document.isprintable() else ascii(document)[1:-1]
    return text if len(text) <= LONGEST_ID_SHOWN else text[:LONGEST_ID_SHOWN] + "…"
