"""Sentences of a corpus whose format marks characters, for training: one layer of mentions, words with offsets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from biodist.data.formats.reading import DocumentReading, DocumentReport
from biodist.data.formats.source import DocumentSource
from biodist.data.records import LayerCounts, Record
from biodist.data.sentences import SentenceCounts, sentences


@dataclass(frozen=True)
class SentenceReport:
    """Counts of the sentences read: their mentions by type."""

    mentions: dict[str, int]
    repaired: int = 0  # tag sequences; such a corpus has none


class SentenceReading:
    """Iterating over it gives the corpus's sentences one by one; ``report`` and ``counts`` are known afterwards.

    What ``source`` would keep (overlaps, gaps) is flattened: a sentence has one layer of tags. Iteration ends with a
    `UserError` that lists every problem. Memory holds one document at a time.
    """

    def __init__(self, source: DocumentSource):
        overlaps = "flatten" if source.overlaps == "keep" else source.overlaps
        discontinuous = "flatten" if source.discontinuous == "keep" else source.discontinuous
        self.source = replace(source, overlaps=overlaps, discontinuous=discontinuous)
        self._documents = DocumentReading(self.source)
        self.counts = SentenceCounts()

    @property
    def documents(self) -> DocumentReport:
        """Counts of the documents read so far."""
        return self._documents.report

    @property
    def report(self) -> SentenceReport:
        """Counts of the sentences given so far; of the whole corpus once the iteration has ended."""
        return SentenceReport(dict(sorted(self.counts.mentions.items())))

    @property
    def layer(self) -> LayerCounts:
        """What making one layer of the corpus's mentions cost."""
        documents = self.documents
        gaps = documents.stretched + documents.dropped_discontinuous
        return LayerCounts(documents.dropped_overlapping, gaps, self.counts.wordless)

    def __iter__(self) -> Iterator[Record]:
        self.counts = SentenceCounts()
        for document in self._documents:
            yield from sentences(document, self.counts)
