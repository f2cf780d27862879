"""What a model is to tag: documents with their sentences, whatever the file; marks that are in it are not used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from biodist.data.conversion import joined_documents
from biodist.data.formats.reading import DocumentReading
from biodist.data.formats.source import DocumentSource
from biodist.data.iob import Reading, Source
from biodist.data.records import Document, Record
from biodist.data.sentences import sentences

CHUNK_DOCUMENTS = 256
CHUNK_CHARACTERS = 1 << 17


@dataclass(frozen=True)
class Untagged:
    """A document without mentions; ``words`` are its sentences where the file has cut them."""

    document: Document
    words: tuple[Record, ...] | None = None

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Its sentences with each word's characters; cut when first asked for."""
        return tuple(sentences(self.document)) if self.words is None else self.words


def untagged(source: Source | DocumentSource) -> Iterator[Untagged]:
    """The documents of a file, one by one. A tagged file's words stay its own; other texts are cut into sentences and
    words by rules. Raises UserError at the end, with every problem of the file."""
    if isinstance(source, Source):
        for document, records in joined_documents(Reading(replace(source, repair=True))):
            plain = tuple(replace(record, entities=()) for record in records)
            yield Untagged(replace(document, mentions=()), plain)
        return
    for document in DocumentReading(source):
        yield Untagged(replace(document, mentions=()))


def chunks(source: Source | DocumentSource) -> Iterator[list[Untagged]]:
    """The documents in parts that are a function of the file alone: some hundred thousand characters, or one longer
    document."""
    chunk: list[Untagged] = []
    characters = 0
    for each in untagged(source):
        chunk.append(each)
        characters += len(each.document.text)
        if len(chunk) == CHUNK_DOCUMENTS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
