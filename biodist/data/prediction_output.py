"""From the parts of a prediction to one file."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

from biodist.data.formats.draft import shown_id
from biodist.data.formats.source import DocumentFormat
from biodist.data.formats.tagged import TaggedWriter
from biodist.data.formats.writing import CannotHold, DocumentWriter, document_writer
from biodist.data.prediction_parts import PredictionParts, TaggedDocument
from biodist.data.records import Entity, Record
from biodist.data.tags import PREFIXES
from biodist.data.text_file import FileProblems


def write_predictions(parts: PredictionParts, target: Path, format: str) -> int:
    """Writes the documents of all parts, whole or not at all; how many mentions they have. Memory holds one document.

    Raises UserError where the format cannot hold a document, with every one of them; OSError.
    """
    job, mentions = parts.job, 0
    problems, tags = FileProblems(Path(job.path)), job.format in PREFIXES
    target.parent.mkdir(parents=True, exist_ok=True)
    with _writer(target, format) as writer:
        for number, tagged in enumerate(parts.read(), start=1):
            try:
                if isinstance(writer, TaggedWriter):
                    _write_sentences(
                        writer, tagged, None if number == _place(tagged, tags) else tagged.document.document
                    )
                else:
                    writer.write(tagged.document)
                mentions += len(tagged.document.mentions)
            except CannotHold as refusal:
                name = shown_id(tagged.document.document)
                do = refusal.do or "give another --to"
                problems.note(tagged.document.line, f"document {name} {refusal.what}", do)
        problems.raise_any()
    return mentions


def _writer(target: Path, format: str) -> TaggedWriter | DocumentWriter:
    if format in ("iob2", "iobes"):
        return TaggedWriter(target, format == "iobes")
    chosen: DocumentFormat = format  # type: ignore[assignment]
    return document_writer(target, chosen)


def _place(tagged: TaggedDocument, tags: bool) -> int | None:
    """The document's number where that is all its name says: a sentence of a tagged file without document marks."""
    name = tagged.document.document
    return int(name) if tags and len(tagged.offsets) == 1 and name.isdecimal() else None


def _write_sentences(writer: TaggedWriter, tagged: TaggedDocument, name: str | None) -> None:
    """The sentences of a document, a token a line: token, score, tag."""
    document = tagged.document
    for offsets, scores in zip(tagged.offsets, tagged.scores, strict=True):
        if not offsets:
            continue
        starts = [start for start, _ in offsets]
        inside = [each for each in document.mentions if offsets[0][0] <= each.start < offsets[-1][1]]
        entities = [
            Entity(bisect_left(starts, each.start), bisect_left(starts, each.end), each.type) for each in inside
        ]
        words = tuple(document.text[start:end] for start, end in offsets)
        record = Record(document.document, document.corpus, document.line, words, tuple(entities))
        writer.write(record, name, scores)
