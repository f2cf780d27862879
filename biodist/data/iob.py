"""Reader of tagged files: IOB2, IOBES and CoNLL columns, one token a line.

The first column is the token, the last one its tag; columns are cut at tabs or, where a line has none, at spaces.
A blank line ends a sentence, a ``-DOCSTART-`` line a document. Nothing is dropped or mended silently.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from biodist.data.records import LayerCounts, Record
from biodist.data.tags import OUTSIDE, PREFIXES, Mentions, Tag, iob2_mentions, iobes_mentions, parse_tag
from biodist.data.text_file import FileProblems, LineShape, nearest_declared, numbered_blocks

Format = Literal["iob", "iob2", "iobes", "conll"]

LONGEST_LINE_BYTES = 1 << 20
SHAPE = LineShape("tokens and tags", "one token and its tag a line", LONGEST_LINE_BYTES)
BLANK = " \t\r"


@dataclass(frozen=True)
class Source:
    """One file and how it is read.

    ``declared`` are the entity types the file may hold, after ``rename`` (None: any). ``repair`` mends broken tag
    sequences and counts them; without it each is a problem.
    """

    path: Path
    format: Format = "iob"
    corpus: str = ""
    declared: tuple[str, ...] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    repair: bool = False

    @property
    def name(self) -> str:
        return self.corpus or self.path.stem


@dataclass(frozen=True)
class ReadReport:
    """Counts of one file. ``broken`` are broken tag sequences, mended or not; lines count from 1. ``empty`` documents
    have a -DOCSTART- line and no sentence."""

    sentences: int
    tokens: int
    documents: int
    mentions: dict[str, int]
    broken: int
    repaired: int
    longest: int  # tokens of the longest sentence
    longest_line: int  # where it begins; 0 in a file without sentences
    left_out: int = 0  # mentions of types renamed to O
    empty: int = 0


class Reading:
    """Iterating over it gives the file's records one by one; ``report`` holds the counts afterwards.

    Iteration ends with a `UserError` that lists every problem of the file (the first 50 in full, then how many
    more), so a broken file is never taken for a short one. Memory does not grow with the file.
    """

    def __init__(self, source: Source):
        self.source = source
        self._pass = _Pass(source)

    @property
    def report(self) -> ReadReport:
        """Counts of what was read so far; of the whole file once the iteration has ended."""
        return self._pass.report

    @property
    def layer(self) -> LayerCounts:
        """What making one layer of the file's mentions cost: nothing, tags are one layer."""
        return LayerCounts()

    @property
    def has_documents(self) -> bool:
        """Whether a -DOCSTART- line was met so far."""
        return self._pass.has_documents

    def __iter__(self) -> Iterator[Record]:
        self._pass = _Pass(self.source)
        return self._pass.records()


class _Pass:
    """One pass over a file: the open sentence, the counts, the problems."""

    def __init__(self, source: Source):
        self.source = source
        self._problems = FileProblems(source.path)
        self._prefixes = PREFIXES[source.format]
        self._mentions_of = iobes_mentions if source.format == "iobes" else iob2_mentions
        self._tags: dict[str, Tag] = {}
        self._columns = 0
        self._document, self._documents, self._empty = "1", 0, 0
        self._before = 0  # sentences before the open document
        self._words: list[str] = []
        self._sequence: list[Tag] = []
        self._lines: list[int] = []
        self._marks = (" ", "\r", "-DOCSTART-", *("#" for _ in range(source.format == "conll")))  # see what they may be
        self._leaves_out = OUTSIDE[0] in source.rename.values()
        self._began = 0  # line on which the open sentence began; 0 outside
        self._mentions: Counter[str] = Counter()
        self._sentences = self._tokens = self._broken = self._left_out = self._longest = self._longest_line = 0

    @property
    def report(self) -> ReadReport:
        repaired = self._broken if self.source.repair else 0
        mentions = dict(sorted(self._mentions.items()))
        documents = max(self._documents, 1 if self._sentences else 0)
        counts = (self._sentences, self._tokens, documents, mentions, self._broken, repaired)
        return ReadReport(*counts, self._longest, self._longest_line, self._left_out, self._empty)

    @property
    def has_documents(self) -> bool:
        return self._documents > 0

    def records(self) -> Iterator[Record]:
        for first, lines in numbered_blocks(self.source.path, SHAPE, self._problems):
            at = 0
            while at < len(lines):
                sentence = self._regular_sentence(first + at, lines, at)
                at += sentence or 1
                if not sentence and self._continues(first + at - 1, lines[at - 1]):
                    continue
                yield from self._close()
                if not sentence:
                    self._start_document(lines[at - 1])
        yield from self._close()
        self._end_document()
        if not self._problems and not self._sentences:
            self._problems.note(0, "holds no sentence", "give a file of tokens and tags")
        self._problems.raise_any()

    # --- lines -------------------------------------------------------------------------------------------------

    def _regular_sentence(self, number: int, lines: list[str], at: int) -> int:
        """Takes in a whole sentence at once, from line ``at`` on, and says of how many lines; 0 where anything in it
        asks for a closer look, line by line: that reads everything, this only what most files are made of."""
        if self._began or not self._columns or not lines[at]:
            return 0
        try:
            end = lines.index("", at)
        except ValueError:
            return 0
        rows = [line.split("\t") for line in lines[at:end]]
        words, tags = [row[0] for row in rows], [self._tags.get(row[-1]) for row in rows]
        letters = "".join(words)
        if None in tags or "" in words or {*map(len, rows)} != {self._columns}:
            return 0
        if any(mark in letters for mark in self._marks) or (self._leaves_out and any(tag is OUTSIDE for tag in tags)):
            return 0
        self._words, self._sequence, self._began = words, cast(list[Tag], tags), number
        self._lines = list(range(number, number + len(rows)))
        self._tokens += len(rows)
        return len(rows)

    def _continues(self, number: int, text: str) -> bool:
        """Takes one line in; False where it ends a sentence or a document."""
        if not text.strip(BLANK):
            return False
        if text.startswith("-DOCSTART-"):
            return False
        columns = text.split("\t") if "\t" in text else [part for part in text.split(" ") if part]
        tag = columns[-1].strip(BLANK)
        if self._is_comment(text, len(columns), tag):
            return True
        self._began = self._began or number
        self._tokens += 1
        if len(columns) > 1:
            self._columns = self._columns or len(columns)
        if len(columns) < 2:
            self._problems.note(
                number, "has 1 column", "a line is a token, then its tag, between them a tab or a space"
            )
        elif len(columns) != self._columns:
            self._problems.note(
                number,
                f"has {len(columns)} columns where the file began with {self._columns}",
                "give each line the same",
            )
        elif not columns[0].strip(BLANK):
            self._problems.note(number, "column 1: empty token", "remove the line or fill in the token")
        else:
            self._add(number, columns[0].strip(BLANK), len(columns), tag)
        return True

    def _is_comment(self, text: str, columns: int, tag: str) -> bool:
        """A CoNLL comment stands between sentences; cut by tabs like its tokens, or with a tag, it is one of them."""
        if self.source.format != "conll" or self._began or not text.startswith("#"):
            return False
        like_a_token = "\t" in text and columns == self._columns
        return not like_a_token and parse_tag(tag, self._prefixes) is None

    def _start_document(self, text: str) -> None:
        if not text.startswith("-DOCSTART-"):
            return
        self._end_document()
        self._documents += 1
        named = re.match(r"-DOCSTART-\s*\(([^()]+)\)", text)
        self._document = named[1] if named else str(self._documents)

    def _end_document(self) -> None:
        self._empty += bool(self._documents) and self._sentences == self._before
        self._before = self._sentences

    # --- tags --------------------------------------------------------------------------------------------------

    def _add(self, number: int, word: str, column: int, text: str) -> None:
        tag = self._tags.get(text) or self._tag(number, column, text)
        if tag is None:
            return
        if tag is OUTSIDE:  # renamed: an O of the file is a tuple of its own
            self._left_out += text[0] in "BS"
        self._words.append(word)
        self._sequence.append(tag)
        self._lines.append(number)

    def _tag(self, number: int, column: int, text: str) -> Tag | None:
        tag = parse_tag(text, self._prefixes)
        if tag is None:
            shapes = ", ".join(f"{prefix}-Type" for prefix in self._prefixes)
            other = "format: iobes" if text[:2] in ("E-", "S-") and "E" not in self._prefixes else ""
            do = f"a tag is O, {shapes}" + (f"; {other} reads E- and S-" if other else "")
            self._problems.note(number, f"column {column}: tag outside the scheme of format {self.source.format}", do)
            return None
        prefix, kind = tag
        kind = self.source.rename.get(kind, kind)
        if kind == OUTSIDE[0]:
            return self._tags.setdefault(text, OUTSIDE)
        declared = self.source.declared
        if kind and declared is not None and kind not in declared:
            self._note_undeclared(number, column, kind, declared)
            return None
        return self._tags.setdefault(text, (prefix, kind))

    def _note_undeclared(self, number: int, column: int, kind: str, declared: tuple[str, ...]) -> None:
        do = f"{nearest_declared(kind, declared)}; add the type to data.labels or rename it with map"
        self._problems.note_undeclared(kind, number, f"column {column}: entity type that is not declared", do)

    def _close(self) -> Iterator[Record]:
        """The open sentence, if there is one; none where all its lines were problems."""
        if not self._began:
            return
        found = self._mentions_of(self._sequence)
        self._count(found)
        record = Record(self._document, self.source.name, self._began, tuple(self._words), tuple(found.entities))
        self._words, self._sequence, self._lines, self._began = [], [], [], 0
        if record.tokens:
            yield record

    def _count(self, found: Mentions) -> None:
        self._sentences += 1
        self._broken += len(found.breaks)
        for entity in found.entities:
            self._mentions[entity.type] += 1
        if len(self._words) > self._longest:
            self._longest, self._longest_line = len(self._words), self._began
        if not self.source.repair:
            for broken in found.breaks:
                self._problems.note(
                    self._lines[broken.token], broken.rule, "correct the tags, or set data.repair (--repair)"
                )
