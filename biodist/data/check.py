"""`data check`: everything worth knowing of a file before a job reads it, in one pass."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from biodist.data.iob import Reading, ReadReport, Source
from biodist.data.records import Record
from biodist.errors import Problem, UserError

REPEAT_TOKENS = 5  # shorter sentences (headings, list marks) repeat by nature


@dataclass(frozen=True)
class Repeats:
    """``repeated``: sentences that occurred before. ``contradictions``: further ways in which such a one is tagged.

    Two sentences are one where their letters and digits agree, case apart. ``lines`` are the lines (first, otherwise
    tagged) of the first few contradictions.
    """

    repeated: int
    contradictions: int
    lines: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CheckReport:
    """What `data check` found. ``problems`` make the file unfit for training; repeats do not."""

    source: Source
    counts: ReadReport
    repeats: Repeats
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {
            "path": str(self.source.path),
            "format": self.source.format,
            **asdict(self.counts),
            "duplicates": self.repeats.repeated,
            "contradictions": self.repeats.contradictions,
            "contradicting_lines": [list(pair) for pair in self.repeats.lines],
            "problems": [asdict(problem) for problem in self.problems],
        }


class _Repetition:
    """Finds repeated sentences by digest: 32 bytes a sentence are kept, no text."""

    PAIRS_SHOWN = 20

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[int, bytes]] = {}
        self._otherwise: set[tuple[bytes, bytes]] = set()
        self._repeated = 0
        self._pairs: list[tuple[int, int]] = []

    def add(self, record: Record) -> None:
        key = sentence_key(record)
        if key is None:
            return
        # The token count too: the same letters cut otherwise have another row of tags.
        tags = _digest(repr((len(record.tokens), [(each.start, each.end, each.type) for each in record.entities])))
        line, first_tags = self._first.setdefault(key, (record.line, tags))
        if line == record.line:
            return
        self._repeated += 1
        if tags != first_tags and (key, tags) not in self._otherwise:
            self._otherwise.add((key, tags))
            if len(self._pairs) < self.PAIRS_SHOWN:
                self._pairs.append((line, record.line))

    @property
    def repeats(self) -> Repeats:
        return Repeats(self._repeated, len(self._otherwise), tuple(self._pairs))


def sentence_key(record: Record) -> bytes | None:
    """What makes two sentences the same: letters and digits alone, lower case, as a digest.

    None for a sentence under five tokens or without a letter or digit: it is never a duplicate.
    """
    if len(record.tokens) < REPEAT_TOKENS:
        return None
    letters = "".join(character for character in "".join(record.tokens).lower() if character.isalnum())
    return _digest(letters) if letters else None


def check_file(source: Source) -> CheckReport:
    """Reads a file once and reports on it. Problems are in the report, not raised."""
    reading, repetition = Reading(source), _Repetition()
    problems: tuple[Problem, ...] = ()
    try:
        for record in reading:
            repetition.add(record)
    except UserError as error:
        problems = error.problems
    return CheckReport(source, reading.report, repetition.repeats, problems)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
