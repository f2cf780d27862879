"""Leaks: sentences and documents that are in two corpora, or in two splits of one.

Two sentences are the same when their letters and digits are, case apart (`biodist.data.repetition.sample_key`): those
under five tokens, or without a letter or digit, never are. Documents are the same by their ids, where files have ids.
Digests alone are kept, no text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from biodist.data.records import Record
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
    """The documents of one file. One whose id is no more than its place in the file tells nothing."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._count = 0

    def key(self, document: str, corpus: str) -> str | None:
        """The key of the document that the next record is of; None where its id tells nothing."""
        if document != self._last:
            self._last, self._count = document, self._count + 1
        return None if document in (str(self._count), str(self._count - 1)) else document_key(document, corpus)


class HeldOut:
    """The sentences and documents of validation and test, which are not to be trained on."""

    def __init__(self) -> None:
        self._sentences: set[bytes] = set()
        self._documents: set[str] = set()

    def add(self, record: Record, document: str | None) -> None:
        """One sentence of validation or test; ``document`` as `DocumentNames` gives it."""
        sentence = sample_key([record.tokens])
        if sentence is not None:
            self._sentences.add(sentence)
        if document is not None:
            self._documents.add(document)

    def has(self, record: Record, document: str | None) -> bool:
        """Whether a sentence of training is in validation or test, or its document is."""
        return document in self._documents or sample_key([record.tokens]) in self._sentences


@dataclass(frozen=True)
class Leak:
    """What two files have in common: ``sentences`` that are in both, and how often these occur in each of the two;
    ``documents`` that are in both."""

    files: tuple[str, str]
    sentences: int
    occurrences: tuple[int, int]
    documents: int


class LeakCheck:
    """Takes in several files' sentences; ``leaks`` says what each two of them share."""

    def __init__(self) -> None:
        self._sentences: dict[str, Counter[bytes]] = {}
        self._documents: dict[str, set[str]] = {}
        self._names: dict[str, DocumentNames] = {}

    def add(self, file: str, record: Record) -> None:
        """One sentence. Documents without a PubMed id are compared by their names: the files are of one matter."""
        sentences = self._sentences.setdefault(file, Counter())
        sentence = sample_key([record.tokens])
        if sentence is not None:
            sentences[sentence] += 1
        document = self._names.setdefault(file, DocumentNames()).key(record.document, "")
        documents = self._documents.setdefault(file, set())
        if document is not None:
            documents.add(document)

    def leaks(self) -> tuple[Leak, ...]:
        """Each two files that share anything, in the order in which they came."""
        pairs = (self._between(first, second) for first, second in combinations(self._sentences, 2))
        return tuple(leak for leak in pairs if leak.sentences or leak.documents)

    def _between(self, first: str, second: str) -> Leak:
        one, other = self._sentences[first], self._sentences[second]
        shared = one.keys() & other.keys()
        occurrences = (sum(one[key] for key in shared), sum(other[key] for key in shared))
        return Leak((first, second), len(shared), occurrences, len(self._documents[first] & self._documents[second]))


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
