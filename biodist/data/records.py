"""What every reader gives: one annotated sample or document, whatever the file it came from looked like."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

Piece = tuple[int, int]  # first character, one past the last


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
    sample ids, ``line`` the file's line (from 1) on which the sample begins. ``offsets`` are the characters of each
    token in its document (first, one past the last); None where the file has tokens alone.
    """

    document: str
    corpus: str
    line: int
    tokens: tuple[str, ...]
    entities: tuple[Entity, ...]
    offsets: tuple[Piece, ...] | None = None


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


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in a document's text.

    ``pieces`` are stretches of characters (as Python counts them, from 0; ends exclusive), none empty, ascending and
    disjoint; with more than one piece the mention is discontinuous. ``score`` is how sure a model was, 0 to 1; None
    for a person's mention.
    """

    pieces: tuple[Piece, ...]
    type: str
    score: float | None = None

    def __post_init__(self) -> None:
        ends = [place for piece in self.pieces for place in piece]
        rises = all(a <= b if number % 2 else a < b for number, (a, b) in enumerate(pairwise(ends)))
        if not ends or ends[0] < 0 or not rises:
            raise ValueError(f"pieces must be ascending, disjoint and not empty, but are {self.pieces}")

    @property
    def start(self) -> int:
        return self.pieces[0][0]

    @property
    def end(self) -> int:
        return self.pieces[-1][1]


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its mentions: the one record of every format that marks characters.

    ``mentions`` go by their places, then by type. ``line`` is where the document begins in its file (from 1); 1 where
    a file holds one document.
    """

    document: str
    corpus: str
    line: int
    text: str
    mentions: tuple[Mention, ...]


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """What making one layer of a corpus's mentions cost.

    ``overlapping`` mentions were left out because they overlap a longer one, ``discontinuous`` ones were stretched over
    their gaps or left out, ``wordless`` ones hold no word.
    """

    overlapping: int = 0
    discontinuous: int = 0
    wordless: int = 0
