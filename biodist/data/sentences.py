"""From a document to its sentences and words, by rules: no model, nothing to download.

A word is a run of letters and digits (with combining marks), or any other single character; blanks, control and
zero-width characters part words. A sentence ends behind ``.``, ``!`` or ``?`` (and the quotes or brackets they close)
before a blank and a capital letter, a digit or an opening mark; not behind abbreviations and initials. A blank line
ends one everywhere, a line end before a capital letter or a bullet. No mention is ever cut in two.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from biodist.data.records import Document, Entity, Mention, Piece, Record

RULES = 1  # version of the rules below; part of a data index's fingerprint
_PARTS = r"\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff"
WORD = re.compile(rf"[^\W_]+(?:[\u0300-\u036f]+[^\W_]*)*|[^\w{_PARTS}]|_")
# Each run is met at its beginning alone: a file of a million dots or blanks takes no longer than one of letters.
BREAK = re.compile(r"""(?P<stop>(?<![.!?])[.!?]+["'\u201d\u2019)\]}]*)\s+|\n\s*""")
OPENING = "([{\"'\u201c\u2018\u00ab\u00bf\u00a1"
BULLETS = "-*\u2022\u2023\u25aa\u25cf\u00b7"
LAST_WORD = re.compile(r"[\w.]+$")
ALWAYS = frozenset(
    ("al", "approx", "ca", "cf", "dr", "e.g", "eq", "i.e", "mr", "mrs", "ms", "prof", "resp", "sp", "spp", "st",
     "subsp", "var", "viz", "vs")
)  # fmt: skip
BEFORE_A_NUMBER = frozenset(("eqs", "fig", "figs", "no", "nos", "p", "pp", "ref", "refs", "sec", "tab", "vol"))
LONGEST_LOOKED_BACK = 24  # characters


@dataclass
class SentenceCounts:
    """What became of documents; lines count from 1.

    ``joined`` sentence ends lay inside a mention and did not count, ``split_words`` words were cut where a mention
    begins or ends, ``wordless`` mentions hold no word and were left out. ``mentions`` are those given, by type.
    """

    sentences: int = 0
    tokens: int = 0
    joined: int = 0
    split_words: int = 0
    wordless: int = 0
    longest: int = 0  # tokens of the longest sentence
    longest_line: int = 0  # of its document
    mentions: Counter[str] = field(default_factory=Counter)


def sentences(document: Document, counts: SentenceCounts | None = None) -> Iterator[Record]:
    """The sentences of a document that have a word, in order, with their mentions and each word's characters.

    The document's mentions are one layer: disjoint, without gaps. Raises ValueError where they are not.
    """
    counts = SentenceCounts() if counts is None else counts
    mentions = document.mentions
    if any(len(each.pieces) > 1 for each in mentions) or any(
        one.end > other.start for one, other in pairwise(mentions)
    ):
        raise ValueError("the mentions of a sentence are one layer: flatten them first")
    starts = [each.start for each in mentions]
    ends = [each.end for each in mentions]
    for first, last in _stretches(document.text, starts, ends, counts):
        inside = mentions[bisect_left(starts, first) : bisect_left(starts, last)]
        offsets = _words(document.text, first, last, inside, counts)
        entities = _entities(offsets, inside, counts)
        if not offsets:
            continue
        counts.sentences += 1
        counts.tokens += len(offsets)
        if len(offsets) > counts.longest:
            counts.longest, counts.longest_line = len(offsets), document.line
        words = tuple(document.text[start:end] for start, end in offsets)
        yield Record(document.document, document.corpus, document.line, words, entities, tuple(offsets))


def _stretches(text: str, starts: list[int], ends: list[int], counts: SentenceCounts) -> Iterator[Piece]:
    """First and last character (exclusive) of each sentence. Together they are the text."""
    begins = 0
    for found in BREAK.finditer(text):
        after = found.end()
        if after == len(text) or not _ends_sentence(text, begins, found):
            continue
        behind = bisect_right(starts, after - 1) - 1  # the last mention that begins before the next sentence
        if behind >= 0 and ends[behind] > after:
            counts.joined += 1
            continue
        yield begins, after
        begins = after
    if begins < len(text):
        yield begins, len(text)


def _ends_sentence(text: str, begins: int, found: re.Match[str]) -> bool:
    """Whether a sentence ends at a stop or a line end."""
    after = text[found.end()]
    gap = text[found.end("stop") if found["stop"] else found.start() : found.end()]
    lines = gap.count("\n")
    if lines > 1 or (lines and (after.isupper() or after in BULLETS)):
        return True
    if not found["stop"] or not (after.isupper() or after.isdigit() or after in OPENING):
        return False
    stop = found.start()
    if text[stop] != ".":
        return True
    last = LAST_WORD.search(text, max(begins, stop - LONGEST_LOOKED_BACK), stop)
    word = last[0].lower() if last else ""
    is_initial = len(word) == 1 and word.isalpha()
    return not (is_initial or word in ALWAYS or (word in BEFORE_A_NUMBER and after.isdigit()))


def _words(text: str, first: int, last: int, mentions: Sequence[Mention], counts: SentenceCounts) -> list[Piece]:
    """The words of a stretch; one that a mention's end falls into is cut there."""
    whole = [found.span() for found in WORD.finditer(text, first, last)]
    if not mentions:
        return whole
    edges = sorted({place for each in mentions for place in (each.start, each.end)})
    offsets: list[Piece] = []
    for start, end in whole:
        cuts = edges[bisect_right(edges, start) : bisect_left(edges, end)]
        counts.split_words += bool(cuts)
        places = [start, *cuts, end]
        offsets.extend(pairwise(places))
    return offsets


def _entities(offsets: Sequence[Piece], mentions: Sequence[Mention], counts: SentenceCounts) -> tuple[Entity, ...]:
    """The mentions of a stretch by its words."""
    starts = [start for start, _ in offsets]
    found = []
    for each in mentions:
        first, last = bisect_left(starts, each.start), bisect_left(starts, each.end)
        if first == last:
            counts.wordless += 1
            continue
        counts.mentions[each.type] += 1
        found.append(Entity(first, last, each.type))
    return tuple(found)
