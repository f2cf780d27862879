"""Leaks: sentences and documents that are in two corpora, or in two splits of one; of texts and pairs, whole samples.

Two are the same when their letters and digits are, case apart (`biodist.data.repetition.sample_key`): those
under five tokens, or without a letter or digit, never are. Documents are the same by their ids, where files have ids.
Digests alone are kept, no text.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from biodist.data.formats.numbers import number_of
from biodist.data.records import Record, TextRecord
from biodist.data.repetition import sample_key

PUBMED = re.compile(r"(?i)(?:PMID|PMC)?[ :_-]*([1-9][0-9]{4,8})")
LEADING_ZEROS = re.compile(r"(?<![0-9])0+")
NAME_DIGITS = 5


def document_key(document: str, corpus: str) -> str | None:
    """What tells a document from all others; None for an id that does not.

    A PubMed or PubMed Central id is one everywhere. Another id is one within its corpus, if it has five digits, leading
    zeros apart: a shorter one (doc-17, 0042) may well be another document's in another file.
    """
    found = PUBMED.fullmatch(document)
    if found is None:
        digits = sum(letter.isdigit() for letter in LEADING_ZEROS.sub("", document))
        return f"{corpus}\0{document}" if digits >= NAME_DIGITS else None
    return ("PMC" if document.upper().startswith("PMC") else "PMID") + str(int(found[1]))


class DocumentNames:
    """The documents of one file. One whose id is no more than its place in the file tells nothing: counted from 0 or 1,
    those without a sentence too, which are not seen here (half of them at most, that is)."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._count = 0

    def key(self, document: str, corpus: str) -> str | None:
        """The key of the document that the next record is of; None where its id tells nothing."""
        if document != self._last:
            self._last, self._count = document, self._count + 1
        number = number_of(document)
        is_place = number is not None and self._count - 1 <= number <= 2 * self._count
        return None if is_place else document_key(document, corpus)


class HeldOut:
    """The sentences and documents of validation and test, which are not to be trained on."""

    def __init__(self) -> None:
        self._sentences: set[bytes] = set()
        self._documents: set[str] = set()

    def add(self, record: Record, document: str | None) -> None:
        """One sentence of validation or test; ``document`` as `DocumentNames` gives it."""
        sentence = record_key(record)
        if sentence is not None:
            self._sentences.add(sentence)
        if document is not None:
            self._documents.add(document)

    def has(self, record: Record, document: str | None) -> bool:
        """Whether a sentence of training is in validation or test, or its document is."""
        return document in self._documents or record_key(record) in self._sentences


def record_key(record: Record | TextRecord) -> bytes | None:
    """The `sample_key` of a sentence; of a sample of one text or two, all its texts together."""
    texts = [record.tokens] if isinstance(record, Record) else [text.split() for text in record.texts]
    return sample_key(texts)


@dataclass(frozen=True)
class Leak:
    """What two files have in common: ``sentences`` that are in both (samples, of texts and pairs), and how often these
    occur in each of the two; ``documents`` that are in both."""

    files: tuple[str, str]
    sentences: int
    occurrences: tuple[int, int]
    documents: int


class _FileKeys:
    """What is kept of one file's sentences, and its documents."""

    def __init__(self, file: str):
        self.file = file
        self.sentences = array("Q")
        self.documents: set[str] = set()
        self.names = DocumentNames()


class LeakCheck:
    """Takes in several files' sentences; ``leaks`` says what each two of them share.

    Eight bytes of each sentence are kept: of ten million different ones two are taken for one with a probability of
    three in a million.
    """

    def __init__(self) -> None:
        self._files: list[_FileKeys] = []

    def begin(self, file: str) -> None:
        """The sentences that come now are this file's; one that comes twice is two files."""
        self._files.append(_FileKeys(file))

    def add(self, record: Record | TextRecord, key: bytes | None) -> None:
        """One sentence or sample, and its `record_key`. Documents without a PubMed id are compared by their names: the
        files are of one matter."""
        keys = self._files[-1]
        if key is not None:
            keys.sentences.append(int.from_bytes(key[:8], "little"))
        document = keys.names.key(record.document, "")
        if document is not None:
            keys.documents.add(document)

    def leaks(self) -> tuple[Leak, ...]:
        """Each two files that share anything, in the order in which they came."""
        counted = [
            (keys, *np.unique(np.frombuffer(keys.sentences, np.uint64), return_counts=True)) for keys in self._files
        ]
        found = []
        for (first, ones, times), (second, others, other_times) in combinations(counted, 2):
            _, here, there = np.intersect1d(ones, others, assume_unique=True, return_indices=True)
            occurrences = int(times[here].sum()), int(other_times[there].sum())
            documents = len(first.documents & second.documents)
            if len(here) or documents:
                found.append(Leak((first.file, second.file), len(here), occurrences, documents))
        return tuple(found)


def leaks_as_json(leaks: Sequence[Leak]) -> list[dict[str, object]]:
    """Plain values, for ``--json``."""
    return [
        {
            "files": list(leak.files),
            "sentences": leak.sentences,
            "occurrences": list(leak.occurrences),
            "documents": leak.documents,
        }
        for leak in leaks
    ]
