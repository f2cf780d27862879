"""`data check`: everything worth knowing of a file before a job reads it, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from biodist.data.formats.layers import one_layer
from biodist.data.formats.reading import DocumentReading, DocumentReport
from biodist.data.formats.source import DocumentSource
from biodist.data.iob import Reading, ReadReport, Source
from biodist.data.leaks import LeakCheck, record_key
from biodist.data.records import Document, Record, TextRecord
from biodist.data.repetition import Repeats, Repetition
from biodist.data.sentences import SentenceCounts, sentences
from biodist.data.texts import TextReading, TextReport, TextSource
from biodist.errors import Problem, UserError


@dataclass(frozen=True)
class CheckReport:
    """What `data check` found in a tagged file. ``problems`` make it unfit for training; repeats do not."""

    source: Source
    counts: ReadReport
    repeats: Repeats
    problems: tuple[Problem, ...]

    @property
    def labelled(self) -> Mapping[str, int]:
        """Mentions by type."""
        return self.counts.mentions

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        path, format = str(self.source.path), self.source.format
        return {"path": path, "format": format, **asdict(self.counts), **_found(self)}


@dataclass(frozen=True)
class TextCheckReport:
    """What `data check` found in a file of texts or pairs."""

    source: TextSource
    counts: TextReport
    repeats: Repeats
    problems: tuple[Problem, ...]

    @property
    def labelled(self) -> Mapping[str, int]:
        """Samples by class."""
        return self.counts.classes

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        counts = asdict(self.counts)
        sides = zip(self.source.text_columns, counts.pop("lengths"), strict=True)
        return {
            "path": str(self.source.path),
            "format": self.source.format,
            "pairs": self.source.columns.second is not None,
            **counts,
            "texts": [{"column": name, **lengths} for name, lengths in sides],
            **_found(self),
        }


@dataclass(frozen=True)
class DocumentCheckReport:
    """What `data check` found in a corpus whose format marks characters: its documents, and the sentences they make
    once their mentions are one layer."""

    source: DocumentSource
    counts: DocumentReport
    sentences: SentenceCounts
    repeats: Repeats
    problems: tuple[Problem, ...]

    @property
    def labelled(self) -> Mapping[str, int]:
        """Mentions by type."""
        return self.counts.mentions

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``; ``longest`` counts tokens of a sentence, ``longest_document`` characters."""
        counts, made = asdict(self.counts), asdict(self.sentences)
        longest = {"longest_document": counts.pop("longest"), "longest_document_line": counts.pop("longest_line")}
        made.pop("mentions")
        path, format = str(self.source.path), self.source.format
        return {"path": path, "format": format, **counts, **longest, **made, **_found(self)}


AnyReport = CheckReport | TextCheckReport | DocumentCheckReport
AnySource = Source | TextSource | DocumentSource


def imbalance(labelled: Mapping[str, int]) -> float | None:
    """How many times the rarest label's occurrences the commonest has; None under two labels that occur."""
    found = [count for count in labelled.values() if count]
    return max(found) / min(found) if len(found) > 1 else None


def _found(report: AnyReport) -> dict[str, Any]:
    return {
        "imbalance": imbalance(report.labelled),
        "duplicates": report.repeats.repeated,
        "contradictions": report.repeats.contradictions,
        "contradicting_lines": [list(pair) for pair in report.repeats.lines],
        "problems": [asdict(problem) for problem in report.problems],
    }


def check_any(source: AnySource, leaks: LeakCheck | None = None) -> AnyReport:
    """Reads a file of whatever kind once and reports on it. Problems are in the report, not raised.

    ``leaks`` takes in its sentences or samples.
    """
    if isinstance(source, DocumentSource):
        return check_documents(source, leaks)
    return check_file(source, leaks) if isinstance(source, Source) else check_text_file(source, leaks)


def check_file(source: Source, leaks: LeakCheck | None = None) -> CheckReport:
    """Reads a tagged file once and reports on it. Problems are in the report, not raised."""
    reading, repetition = Reading(source), Repetition()
    if leaks is not None:
        leaks.begin(str(source.path))
    problems: tuple[Problem, ...] = ()
    try:
        for record in reading:
            _take_in(record, _tagging(record), repetition, leaks)
    except UserError as error:
        problems = error.problems
    return CheckReport(source, reading.report, repetition.repeats, problems)


def check_text_file(source: TextSource, leaks: LeakCheck | None = None) -> TextCheckReport:
    """Reads a file of texts or pairs once and reports on it. Problems are in the report, not raised."""
    reading, repetition = TextReading(source), Repetition()
    if leaks is not None:
        leaks.begin(str(source.path))
    problems: tuple[Problem, ...] = ()
    try:
        for record in reading:
            _take_in(record, sorted(record.labels), repetition, leaks)
    except UserError as error:
        problems = error.problems
    return TextCheckReport(source, reading.report, repetition.repeats, problems)


def check_documents(source: DocumentSource, leaks: LeakCheck | None = None) -> DocumentCheckReport:
    """Reads a corpus once and reports on it. Problems are in the report, not raised."""
    reading, repetition, made = DocumentReading(source), Repetition(), SentenceCounts()
    if leaks is not None:
        leaks.begin(str(source.path))
    problems: tuple[Problem, ...] = ()
    try:
        for document in reading:
            layer = one_layer(document.mentions).mentions
            flat = Document(document.document, document.corpus, document.line, document.text, layer)
            for record in sentences(flat, made):
                _take_in(record, _tagging(record), repetition, leaks)
    except UserError as error:
        problems = error.problems
    return DocumentCheckReport(source, reading.report, made, repetition.repeats, problems)


def _tagging(record: Record) -> object:
    """How a sentence is labelled; the token count too: the same letters cut otherwise have another row of tags."""
    return len(record.tokens), [(each.start, each.end, each.type) for each in record.entities]


def _take_in(record: Record | TextRecord, labels: object, repetition: Repetition, leaks: LeakCheck | None) -> None:
    key = record_key(record)
    repetition.add(record.line, key, labels)
    if leaks is not None:
        leaks.add(record, key)
