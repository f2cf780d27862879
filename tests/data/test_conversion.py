"""From tags to spans and back, and what conversion says of what it lost."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.data.conversion import convert
from biodist.data.formats.reading import DocumentReading
from biodist.data.formats.source import DocumentSource
from biodist.data.formats.tagged import TaggedWriter
from biodist.data.formats.writing import CannotHold
from biodist.data.iob import Reading, Source
from biodist.data.records import Entity, Mention, Record
from biodist.errors import UserError

TOKENS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6) | st.sampled_from(
    ["-DOCSTART-", "#", "O", "a\tb", "\x85", "\ufeff", "B-Gene", "a b"]
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    tokens = tuple(draw(st.lists(TOKENS, min_size=1, max_size=8)))
    places = sorted(draw(st.sets(st.integers(0, len(tokens)), max_size=4)))
    spans = zip(places[::2], places[1::2], strict=False)
    entities = tuple(Entity(start, end, draw(st.sampled_from(["Gene", "Gène", "a b"]))) for start, end in spans)
    return Record(draw(st.sampled_from(["12", "a(b", "7 x"])), "file", 1, tokens, entities)


@pytest.mark.parametrize("format", ["iob2", "iobes"])
@given(record=records())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_any_sentence_to_tags_and_back(format: str, record: Record) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "file.tsv")
        try:
            with TaggedWriter(path, format == "iobes") as writer:
                writer.write(record, record.document)
        except CannotHold:
            odd = [
                token
                for token in record.tokens
                if set(token) & set("\t\r\n\0") or token.strip(" ") != token or token.startswith("-DOCSTART-")
            ]
            assert odd or "(" in record.document or any(" " in each.type for each in record.entities)
            return
        (back,) = list(Reading(Source(path, format)))
    assert (back.document, back.tokens, back.entities) == (record.document, record.tokens, record.entities)


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    path = tmp_path / "x.tsv"
    path.write_text(
        "-DOCSTART- (d1)\n\nAPC\tB-Gene\nis\tO\n\ncolon\tB-Disease\ncancer\tI-Disease\n\n-DOCSTART- (d2)\n\ny\tO\n"
    )
    return path


@pytest.mark.parametrize("format", ["brat", "pubtator", "bioc", "jsonl", "bigbio"])
def test_tags_to_spans_and_back(tagged: Path, tmp_path: Path, format: str) -> None:
    done = convert(Source(tagged), tmp_path / "spans", format)
    assert (done.units, done.mentions, done.lost) == (2, 2, 0)
    first, second = DocumentReading(DocumentSource(tmp_path / "spans", format))
    assert (first.document, first.text, second.text) == ("d1", "APC is\ncolon cancer", "y")
    assert first.mentions == (Mention(((0, 3),), "Gene"), Mention(((7, 19),), "Disease"))
    convert(DocumentSource(tmp_path / "spans", format), tmp_path / "back.tsv", "iob2")
    said = [(each.tokens, each.entities) for each in Reading(Source(tmp_path / "back.tsv"))]
    tokens = [(("APC", "is", "colon", "cancer"), (Entity(0, 1, "Gene"), Entity(2, 4, "Disease"))), (("y",), ())]
    assert said == tokens  # a line end before a small letter is no sentence end


def test_without_document_marks_each_sentence_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("a\tO\n\nb\tO\n")
    convert(Source(path), tmp_path / "x.jsonl", "jsonl")
    assert [each.document for each in DocumentReading(DocumentSource(tmp_path / "x.jsonl", "jsonl"))] == ["1", "2"]


def test_what_a_format_cannot_hold_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "a|b", "text": "x"}\n{"text": "x"}\n{"id": "c\\td", "text": "x"}\n')
    with pytest.raises(UserError) as refusal:
        convert(DocumentSource(path, "jsonl"), tmp_path / "out", "pubtator")
    assert [each.where for each in refusal.value.problems] == [f"{path}:1", f"{path}:3"]
    assert "document a|b has an id" in refusal.value.problems[0].what
    assert [each.name for each in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_broken_corpus_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "a", "text": "x"}\n{"id": "b"}\n')
    for format in ("brat", "bioc", "iob2", "bigbio"):
        with pytest.raises(UserError, match="has no field text"):
            convert(DocumentSource(path, "jsonl"), tmp_path / "out", format)
        assert [each.name for each in tmp_path.iterdir()] == ["x.jsonl"]


@pytest.mark.parametrize("format", ["jsonl", "iob2"])
def test_what_is_not_carried_over_is_counted(tmp_path: Path, format: str) -> None:
    spans, tags = tmp_path / "x.jsonl", tmp_path / "x.tsv"
    spans.write_text('{"text": "abc de", "entities": [[0, 3, "G"], [0, 3, "G"], [4, 6, "X"]]}\n')
    tags.write_text("abc\tI-G\nde\tB-X\n")
    done = convert(DocumentSource(spans, "jsonl", rename={"X": "O"}), tmp_path / "one", format)
    assert (done.mentions, done.repeated, done.left_out, done.repaired) == (1, 1, 1, 0)
    done = convert(Source(tags, rename={"X": "O"}, repair=True), tmp_path / "other", format)
    assert (done.mentions, done.repeated, done.left_out, done.repaired) == (1, 0, 1, 1)


def test_nothing_is_replaced(tagged: Path) -> None:
    with pytest.raises(UserError, match="is there already"):
        convert(Source(tagged), tagged, "jsonl")
