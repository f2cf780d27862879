"""From one format to another: `biodist data convert`. Streams; what is lost is counted, and nothing silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from biodist.data.formats.draft import shown_id
from biodist.data.formats.reading import DocumentReading, DocumentReport
from biodist.data.formats.source import DocumentFormat, DocumentSource
from biodist.data.formats.tagged import TaggedWriter
from biodist.data.formats.writing import CannotHold, document_writer
from biodist.data.iob import Reading, Source
from biodist.data.records import Document, Mention, Record
from biodist.data.sentence_reading import SentenceReading
from biodist.data.text_file import FileProblems
from biodist.errors import MachineCannot, Problem, UserError

TaggedFormat = Literal["iob2", "iobes"]


@dataclass(frozen=True)
class Converted:
    """What was written: ``units`` documents, or sentences of a tagged file. ``changed`` characters became blanks,
    ``lost`` mentions were left out to make one layer, ``stretched`` cover gaps now, ``split_words`` words were cut.
    ``left_out`` mentions were renamed to O, ``repeated`` ones stood there twice, ``repaired`` tag sequences mended."""

    path: Path
    units: int
    mentions: int
    changed: int = 0
    lost: int = 0
    stretched: int = 0
    split_words: int = 0
    passed_over: int = 0
    left_out: int = 0
    repeated: int = 0
    repaired: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {**asdict(self), "path": str(self.path)}


def convert(source: Source | DocumentSource, to: Path, format: TaggedFormat | DocumentFormat) -> Converted:
    """Writes a corpus in another format, whole or not at all.

    Raises:
        UserError: the corpus is broken, ``to`` is there already, or the format cannot hold a document; every problem.
        MachineCannot: ``to`` cannot be written.
    """
    if to.exists():
        raise UserError(Problem(f"--out {to}", "is there already", "name another, or remove it"))
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        if format == "iob2" or format == "iobes":
            return _to_tags(source, to, format)
        return _to_spans(source, to, format)
    except OSError as error:
        raise MachineCannot(f"cannot write {to}: {error.strerror or type(error).__name__}") from error


def _to_tags(source: Source | DocumentSource, to: Path, format: str) -> Converted:
    reading = SentenceReading(source) if isinstance(source, DocumentSource) else Reading(source)
    problems, units, mentions = FileProblems(source.path), 0, 0
    marks = isinstance(reading, SentenceReading)
    with TaggedWriter(to, format == "iobes") as writer:
        for record in reading:
            try:
                named = marks or (isinstance(reading, Reading) and reading.has_documents)
                writer.write(record, record.document if named else None)
                units, mentions = units + 1, mentions + len(record.entities)
            except CannotHold as refusal:
                problems.note(record.line, f"document {shown_id(record.document)} {refusal.what}", refusal.do)
        problems.raise_any()
    if isinstance(reading, Reading):
        return _of_tags(reading, Converted(to, units, mentions))
    counts = reading.counts
    written = Converted(to, units, mentions, lost=counts.wordless, split_words=counts.split_words)
    return _of_documents(reading.documents, written)


def _to_spans(source: Source | DocumentSource, to: Path, format: DocumentFormat) -> Converted:
    reading = DocumentReading(source) if isinstance(source, DocumentSource) else Reading(source)
    documents = (each for each, _ in joined_documents(reading)) if isinstance(reading, Reading) else reading
    problems, units, mentions = FileProblems(source.path), 0, 0
    with document_writer(to, format) as writer:
        for document in documents:
            try:
                writer.write(document)
                units, mentions = units + 1, mentions + len(document.mentions)
            except CannotHold as refusal:
                problems.note(document.line, f"document {shown_id(document.document)} {refusal.what}", refusal.do)
        problems.raise_any()
    written = Converted(to, units, mentions, writer.changed)
    return _of_tags(reading, written) if isinstance(reading, Reading) else _of_documents(reading.report, written)


def _of_tags(reading: Reading, written: Converted) -> Converted:
    """With what reading a tagged file counted."""
    return replace(written, left_out=reading.report.left_out, repaired=reading.report.repaired)


def _of_documents(report: DocumentReport, written: Converted) -> Converted:
    """With what reading documents counted."""
    return replace(
        written,
        lost=written.lost + report.dropped_overlapping + report.dropped_discontinuous,
        stretched=report.stretched,
        passed_over=sum(report.passed_over.values()),
        left_out=report.left_out,
        repeated=report.repeated,
    )


def joined_documents(reading: Reading) -> Iterator[tuple[Document, tuple[Record, ...]]]:
    """The documents of a tagged file, each with its sentences: words joined by blanks, sentences by line ends, and the
    words' offsets in that text. Where a file marks no documents each sentence is one, its number its id."""
    open_records: list[Record] = []
    for number, record in enumerate(reading, start=1):
        if not reading.has_documents:
            yield _joined([record], str(number))
            continue
        if open_records and record.document != open_records[0].document:
            yield _joined(open_records, open_records[0].document)
            open_records = []
        open_records.append(record)
    if open_records:
        yield _joined(open_records, open_records[0].document)


def _joined(records: list[Record], name: str) -> tuple[Document, tuple[Record, ...]]:
    placed, mentions, at = [], [], 0
    for record in records:
        offsets = []
        for token in record.tokens:
            offsets.append((at, at + len(token)))
            at += len(token) + 1  # a blank, or the sentence's line end
        for each in record.entities:
            mentions.append(Mention(((offsets[each.start][0], offsets[each.end - 1][1]),), each.type))
        placed.append(replace(record, document=name, offsets=tuple(offsets)))
    text = "\n".join(" ".join(record.tokens) for record in records)
    return Document(name, records[0].corpus, records[0].line, text, tuple(mentions)), tuple(placed)
