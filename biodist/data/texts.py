"""Reader of texts and pairs of texts that are labelled as a whole: JSON lines, TSV, CSV, PubMedQA.

What a file's rows are is in `biodist.data.rows` and `biodist.data.pubmedqa`; here each row becomes a `TextRecord`, or
a problem. Nothing is dropped or mended silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from biodist.config.recipe import Columns
from biodist.config.text_rules import LABELS_OF_MESH, NO_MAJORITY, SEPARATOR, TABLES
from biodist.data.pubmedqa import pubmedqa_rows
from biodist.data.records import TextRecord
from biodist.data.rows import Row, json_rows, table_rows
from biodist.data.text_file import FileProblems, nearest_declared

TextFormat = Literal["jsonl", "tsv", "csv", "pubmedqa"]
FORMATS: tuple[TextFormat, ...] = ("jsonl", "tsv", "csv", "pubmedqa")
KINDS = {bool: "a switch", int: "a number", float: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class TextSource:
    """One file and how it is read.

    ``columns`` are the names of its fields or columns; a pair where ``second`` is one. ``declared`` are the classes
    it may hold, after ``rename`` (None: any). ``multi_label`` samples have none, one or several of them. With
    ``no_majority`` (nli) samples labelled ``-`` are dropped and counted.
    """

    path: Path
    format: TextFormat
    columns: Columns
    corpus: str = ""
    declared: tuple[str, ...] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    multi_label: bool = False
    no_majority: bool = False

    @property
    def name(self) -> str:
        return self.corpus or self.path.stem

    @property
    def is_open(self) -> bool:
        """Whether labels outside ``declared`` are counted, not refused: nobody lists all MeSH terms."""
        return self.format == "pubmedqa" and self.columns.label == LABELS_OF_MESH

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The names of the texts: one, or two."""
        return tuple(name for name in (self.columns.text, self.columns.second) if name is not None)


@dataclass(frozen=True)
class TextLengths:
    """Words (cut at blanks) of one side of all samples; ``longest_line`` is 0 in a file without samples."""

    words: int
    longest: int
    longest_line: int


@dataclass(frozen=True)
class TextReport:
    """Counts of one file; lines count from 1.

    ``dropped`` had no majority label, ``undeclared`` are MeSH terms outside the list, ``empty`` are texts without a
    character. ``first_lines`` are the lines on which each class occurs first; ``lengths`` go by side.
    """

    samples: int
    classes: dict[str, int]
    first_lines: dict[str, int]
    dropped: int
    undeclared: int
    empty: int
    lengths: tuple[TextLengths, ...]


class TextReading:
    """Iterating over it gives the file's records one by one; ``report`` holds the counts afterwards.

    Iteration ends with a `UserError` that lists every problem of the file (the first 50 in full, then how many
    more), so a broken file is never taken for a short one. Memory does not grow with the file, PubMedQA's apart,
    which is one JSON object.
    """

    def __init__(self, source: TextSource):
        self.source = source
        self._pass = _Pass(source)

    @property
    def report(self) -> TextReport:
        """Counts of what was read so far; of the whole file once the iteration has ended."""
        return self._pass.report

    def __iter__(self) -> Iterator[TextRecord]:
        self._pass = _Pass(self.source)
        return self._pass.records()


class _Side:
    """Running lengths of one side."""

    def __init__(self) -> None:
        self.words = self.longest = self.longest_line = 0

    def add(self, text: str, line: int) -> None:
        words = len(text.split())
        self.words += words
        if words > self.longest or not self.longest_line:
            self.longest, self.longest_line = words, line


class _Pass:
    """One pass over a file: the counts, the problems."""

    def __init__(self, source: TextSource):
        self.source = source
        self._problems = FileProblems(source.path)
        self._place = "column" if source.format in TABLES else "field"
        self._classes: Counter[str] = Counter()
        self._first_lines: dict[str, int] = {}
        self._sides = [_Side() for _ in source.text_columns]
        self._rows = self._samples = self._dropped = self._undeclared = self._empty = 0

    @property
    def report(self) -> TextReport:
        lengths = tuple(TextLengths(side.words, side.longest, side.longest_line) for side in self._sides)
        classes, first_lines = dict(sorted(self._classes.items())), dict(sorted(self._first_lines.items()))
        counts = (self._dropped, self._undeclared, self._empty)
        return TextReport(self._samples, classes, first_lines, *counts, lengths)

    def records(self) -> Iterator[TextRecord]:
        for row in self._read():
            self._rows += 1
            labels = self._labels(row)
            if labels is not None and self.source.no_majority and labels == (NO_MAJORITY,):
                self._dropped += 1
                continue
            texts = [self._text(row, name) for name in self.source.text_columns]
            known = None if labels is None else self._known(row, labels)
            if known is not None and None not in texts:
                record = TextRecord(self._document(row), self.source.name, row.line, tuple(filter(None, texts)), known)
                self._count(record)
                yield record
        if not self._problems and not self._samples:
            what = "holds no sample" + (" but those without a majority label" if self._dropped else "")
            self._problems.note(0, what, "give a file of labelled texts")
        self._problems.raise_any()

    def _read(self) -> Iterator[Row]:
        source = self.source
        if source.format == "jsonl":
            return json_rows(source.path, self._problems)
        if source.format == "pubmedqa":
            return pubmedqa_rows(source.path, self._problems)
        return table_rows(source.path, source.format, source.columns, self._problems)

    def _count(self, record: TextRecord) -> None:
        self._samples += 1
        for label in record.labels:
            self._classes[label] += 1
            self._first_lines.setdefault(label, record.line)
        for side, text in zip(self._sides, record.texts, strict=True):
            side.add(text, record.line)

    def _document(self, row: Row) -> str:
        """The row's id where it has one, else its number in the file."""
        written = row.key or row.values.get(self.source.columns.id or "")
        return str(written) if isinstance(written, str | int) and written != "" else str(self._rows)

    # --- texts -------------------------------------------------------------------------------------------------

    def _text(self, row: Row, name: str) -> str | None:
        """One text of a row; None where it is a problem."""
        where = f"{self._place} {name}"
        if name not in row.values:
            self._note_missing(row, name)
            return None
        text = row.values[name]
        if not isinstance(text, str):
            self._problems.note(row.line, f"{where}: is {_kind(text)}, not a text", "write a text in quotes")
        elif not text.strip():
            self._empty += 1
            self._problems.note(row.line, f"{where}: is empty", "fill in the text, or remove the sample")
        elif not is_whole(text):
            self._problems.note(row.line, f"{where}: holds half a character (a lone surrogate)", "write it whole")
        else:
            return text
        return None

    def _note_missing(self, row: Row, name: str) -> None:
        do = "name the fields in columns (--columns)" if self.source.format == "jsonl" else "add it"
        self._problems.note(row.line, f"has no {self._place} {name}", do)

    # --- labels ------------------------------------------------------------------------------------------------

    def _labels(self, row: Row) -> tuple[str, ...] | None:
        """The labels as they are written, renamed; None where they are a problem."""
        name = self.source.columns.label or ""
        if name not in row.values:
            self._note_missing(row, name)
            return None
        written = row.values[name]
        if not self.source.multi_label:
            return self._one(row, written)
        if isinstance(written, str):
            cell = written.split(SEPARATOR) if self.source.format in TABLES else [written]
            written = [part for part in cell if part.strip()]
        if not isinstance(written, list) or not all(isinstance(part, str | int) for part in written):
            what = f"{self._place} {name}: is {_kind(written)}, not a list of labels"
            self._problems.note(row.line, what, "write a list of texts; [] is none of the classes")
            return None
        return tuple(dict.fromkeys(self._renamed(part) for part in written))

    def _one(self, row: Row, written: object) -> tuple[str, ...] | None:
        where = f"{self._place} {self.source.columns.label}"
        if not isinstance(written, str | int):
            do = "data.multi_label reads lists" if isinstance(written, list) else "write one label"
            self._problems.note(row.line, f"{where}: is {_kind(written)}, not a label", do)
        elif written == "" or str(written).isspace():
            self._problems.note(row.line, f"{where}: is empty", "fill in the label, or remove the sample")
        else:
            return (self._renamed(written),)
        return None

    def _renamed(self, written: str | int) -> str:
        label = ("false", "true")[written] if isinstance(written, bool) else str(written).strip()
        return self.source.rename.get(label, label)

    def _known(self, row: Row, labels: tuple[str, ...]) -> tuple[str, ...] | None:
        """The labels, if they are declared, without those that may be passed over."""
        declared = self.source.declared
        if declared is None:
            return labels
        known = tuple(label for label in labels if label in declared)
        if self.source.is_open:
            self._undeclared += len(labels) - len(known)
            return known
        for label in labels:
            if label not in declared:
                do = f"{nearest_declared(label, declared)}; add the class to data.labels or rename it with map"
                if self.source.multi_label and self.source.format in TABLES:
                    do += f"; between the labels of a cell stands {SEPARATOR}"
                what = f"{self._place} {self.source.columns.label}: class that is not declared"
                self._problems.note_undeclared(label, row.line, what, do)
        return known if len(known) == len(labels) else None


def _kind(value: object) -> str:
    return KINDS.get(type(value), "null")


def is_whole(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
