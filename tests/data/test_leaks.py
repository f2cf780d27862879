"""Leaks: sentences and documents in two files, counted; held out ones are not trained on."""

from __future__ import annotations

import os
import re
import tracemalloc
from pathlib import Path

import pytest

from biodist.data.iob import Reading, Source
from biodist.data.leaks import DocumentNames, HeldOut, LeakCheck, document_key, leaks_as_json, record_key
from biodist.data.records import Record, TextRecord

SHARED = os.environ.get("BIODIST_SHARED", "")
SOURCES = sorted(Path(SHARED, "data").glob("ner*/*/SOURCE.md")) if SHARED else []
LINE = re.compile(r"^- (\w+) & (\w+): (\d+) unique, (\d+) occurrences in \w+, (\d+) in \w+$", re.MULTILINE)


def sentence(text: str, document: str = "1", corpus: str = "c") -> Record:
    return Record(document, corpus, 1, tuple(text.split(" ")), ())


def take_in(check: LeakCheck, record: Record | TextRecord) -> None:
    check.add(record, record_key(record))


def test_two_files_share_what_agrees_in_letters_and_digits() -> None:
    check = LeakCheck()
    check.begin("a")
    for text in (
        "One two three - 4",
        "one TWO three-- 4 .",
        "never said here at all",
        "- - - - -",
        "four words are short",
    ):
        take_in(check, sentence(text))
    check.begin("b")
    for text in ("One two three 4 .", "+ + + + +", "four words are short", "Never ! said here at-all"):
        take_in(check, sentence(text))
    (leak,) = check.leaks()
    assert (leak.files, leak.sentences, leak.occurrences, leak.documents) == (("a", "b"), 2, (3, 2), 0)
    assert leaks_as_json([leak]) == [{"files": ["a", "b"], "sentences": 2, "occurrences": [3, 2], "documents": 0}]


def test_of_pairs_both_texts_are_compared() -> None:
    check = LeakCheck()
    for file, pairs in (
        ("train", [("He has no pain.", "He is well."), ("He has no pain.", "He is ill.")]),
        ("test", [("he has no pain", "He is well!"), ("He has no pain. He", "is well.")]),
    ):
        check.begin(file)
        for pair in pairs:
            take_in(check, TextRecord("1", "c", 1, pair, ("neutral",)))
    (leak,) = check.leaks()
    assert (leak.sentences, leak.occurrences) == (1, (1, 1))


def test_files_that_share_nothing_have_no_leak() -> None:
    check = LeakCheck()
    for file, text in (("a", "one two three four five"), ("b", "one two three four six"), ("empty", "- -")):
        check.begin(file)
        take_in(check, sentence(text))
    assert check.leaks() == ()


def test_a_file_named_twice_is_two_files() -> None:
    """A recipe that validates on what it trains on."""
    check = LeakCheck()
    for _ in range(2):
        check.begin("a")
        take_in(check, sentence("one two three four five", "99101"))
    (leak,) = check.leaks()
    assert (leak.files, leak.sentences, leak.occurrences, leak.documents) == (("a", "a"), 1, (1, 1), 1)


def test_memory_is_a_few_bytes_a_sentence() -> None:
    """A set of digests takes some 130 bytes of each."""
    check, sentences = LeakCheck(), 20_000
    tracemalloc.start()
    check.begin("a")
    for number in range(sentences):
        take_in(check, sentence(f"{number} two three four five"))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / sentences < 20


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("12345", "a"), ("PMID: 12345", "b"), True),
        (("PMC12345", "a"), ("pmc12345", "b"), True),
        (("PMC12345", "a"), ("12345", "b"), False),
        (("note-2005-17", "a"), ("note-2005-17", "a"), True),
        (("note-2005-17", "a"), ("note-2005-17", "b"), False),  # another corpus may well have a note of that name
    ],
)
def test_documents_are_told_apart(one: tuple[str, str], other: tuple[str, str], same: bool) -> None:
    assert (document_key(*one) == document_key(*other)) is same


@pytest.mark.parametrize("document", ["7", "0042", "doc-17", "000017", "train_0001", ""])
def test_an_id_that_another_file_may_give_to_another_document_tells_nothing(document: str) -> None:
    assert document_key(document, "c") is None


def test_a_running_number_is_no_name() -> None:
    names = DocumentNames()
    assert [names.key(document, "c") for document in ("1", "1", "2", "3")] == [None] * 4
    names = DocumentNames()
    assert [names.key(str(number), "c") for number in range(20_000)] == [None] * 20_000
    names = DocumentNames()  # every tenth document has no sentence
    assert [names.key(f"{number:07}", "c") for number in range(1, 20_000) if number % 10] == [None] * 18_000
    names = DocumentNames()
    found = [names.key(document, "c") for document in ("99101", "99101", "99102")]
    assert found == ["PMID99101", "PMID99101", "PMID99102"]


def test_held_out_sentences_and_documents() -> None:
    held_out = HeldOut()
    held_out.add(sentence("a sentence of the test split"), "PMID12345")
    held_out.add(sentence("- - -"), None)
    assert held_out.has(sentence("A sentence , of the test split !"), None)
    assert held_out.has(sentence("quite another one"), "PMID12345")
    assert not held_out.has(sentence("- - -"), None) and not held_out.has(sentence("another one"), "PMID12346")


STATED = [
    pytest.param(source.parent, *found, id=f"{source.parent.name}-{found[0]}-{found[1]}")
    for source in SOURCES
    for found in LINE.findall(source.read_text(encoding="utf-8"))
]


@pytest.mark.skipif(not STATED, reason="BIODIST_SHARED names no folder with data/ner*/*/SOURCE.md")
@pytest.mark.parametrize(("folder", "first", "second", "unique", "in_first", "in_second"), STATED)
def test_counts_are_those_of_the_source(
    folder: Path, first: str, second: str, unique: str, in_first: str, in_second: str
) -> None:
    check = LeakCheck()
    for split in (first, second):
        check.begin(split)
        for record in Reading(Source(folder / f"{split}.tsv")):
            take_in(check, record)
    found = check.leaks()
    said = (found[0].sentences, *found[0].occurrences) if found else (0, 0, 0)
    assert said == (int(unique), int(in_first), int(in_second))
