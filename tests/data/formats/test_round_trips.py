"""Any document to every format and back, and any bytes into every reader."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biodist.data.formats import json_spans
from biodist.data.formats.bigbio import SCHEMA
from biodist.data.formats.reading import DocumentReading, _Pass
from biodist.data.formats.source import ANNOTATED, UNANNOTATED, DocumentSource
from biodist.data.formats.writing import CannotHold, document_writer
from biodist.data.records import Document, Mention
from biodist.errors import UserError

pytestmark = pytest.mark.timeout(120)
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
WRITTEN = [(name, "corpus") for name in ANNOTATED] + [("bioc", "corpus.json")]
WITHOUT_SCORES = ("bigbio",)
TEXT = st.text(st.characters(codec="utf-8"), max_size=60) | st.text(
    'aé\u0301𝔸 \t\n\r.\x85\u2028\ufeff|<&"', max_size=60
)
NAME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8) | st.sampled_from(
    ["12", "a|b", "x/y", " ", "..", "T1"]
)
TYPE = st.sampled_from(["Gene", "Disease", "a b", "Gène", "é\u0301"])


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A document with mentions anywhere: overlapping, discontinuous, scored, over line ends."""
    text = draw(TEXT)
    mentions: dict[object, Mention] = {}
    for _ in range(draw(st.integers(0, 4)) if len(text) > 1 else 0):
        size = draw(st.sampled_from([2, 2, 4]))
        places = sorted(draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=size)))
        pieces = tuple(zip(places[::2], places[1::2], strict=False))
        score = draw(st.none() | st.floats(0, 1))
        each = Mention(pieces, draw(TYPE), score)
        mentions.setdefault((each.pieces, each.type), each)
    return Document(draw(NAME), "corpus", 1, text, tuple(mentions[key] for key in sorted(mentions)))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as path:
        yield Path(path)


def written(path: Path, format: str, document: Document) -> int:
    """Writes one document; how many characters had to change."""
    with document_writer(path, format) as writer:
        writer.write(document)
    return writer.changed


@pytest.mark.parametrize(("format", "name"), WRITTEN)
@given(document=documents())
@SETTINGS
def test_what_is_written_is_read(format: str, name: str, document: Document) -> None:
    with TemporaryDirectory() as here:
        path = Path(here, name)
        try:
            changed = written(path, format, document)
        except CannotHold as refusal:
            assert refusal.what and not list(Path(here).iterdir())
            return
        reading = DocumentReading(DocumentSource(path, format, corpus="corpus"))
        (back,) = list(reading)
        assert reading.report.found == len(document.mentions) and reading.report.faulty == 0
    if format in WITHOUT_SCORES:
        document = replace(document, mentions=tuple(replace(each, score=None) for each in document.mentions))
    if format == "pubtator" and changed:
        assert len(back.text) == len(document.text)
        title, end, abstract = document.text.partition("\n")
        document = replace(
            document, text=title.replace("\r", " ") + end + abstract.replace("\n", " ").replace("\r", " ")
        )
    assert replace(back, line=1) == document


def test_formats_refuse_only_what_they_must(folder: Path) -> None:
    """Most documents are written: the property above would hold of writers that refuse all."""
    plain = Document("12", "corpus", 1, "Ä b\nc", (Mention(((0, 1), (2, 3)), "Gene", 0.5), Mention(((2, 3),), "Gene")))
    for format, name in WRITTEN:
        if format == "pubtator":
            with pytest.raises(CannotHold, match="discontinuous"):
                written(folder / f"{format}-{name}", format, plain)
        else:
            assert written(folder / f"{format}-{name}", format, plain) == 0


def outcome(path: Path, format: str) -> None:
    """Reads to the end: documents, or a named error; every mention the file has is counted somewhere."""
    reading = DocumentReading(DocumentSource(path, format, overlaps="flatten", discontinuous="flatten"))
    try:
        given = list(reading)
    except UserError as error:
        given = []
        assert error.problems and all(str(path) in problem.where for problem in error.problems)
    report = reading.report
    accounted = sum(report.mentions.values()) + report.repeated + report.left_out + report.faulty
    assert report.found == accounted + report.dropped_overlapping + report.dropped_discontinuous
    assert report.faulty >= 0 and len(given) <= report.documents


FRAGMENTS = st.sampled_from(
    [
        "12|t|A b", "\n", "12|a|c", "12\t0\t1\tA\tGene\t-", "12\t9\t4\tA\tGene", "12\tCID\tD1\tD2", "\t", "|t|",
        "<collection>", "<document>", "</document>", "</collection>", "<id>1</id>", "<passage>", "</passage>",
        "<offset>0</offset>", "<offset>x</offset>", "<text>A b</text>", "<annotation id='1'>", "</annotation>",
        "<location offset='0' length='1'/>", "<infon key='type'>Gene</infon>", "<location offset='-' length='1'/>",
        '{"id": "1", "text": "A b", "entities": [', ']}', '{"start": 0, "end": 1, "type": "G"}', '{"start": true}', ",",
        '{"documents": [', '{"passages": [', '{"offset": 0, "text": "A"', ', "annotations": [', "}", "]",
        '[0, 1, "G"]',
        '"entities": 3}', "\ufeff", "null", "1e999", "T1\tGene 0 1\tA", "T2\tGene 0 1;2 3\tA b", "T3\tGene 5 1\tA", "#",
    ]
)  # fmt: skip
BYTES = (
    st.binary(max_size=120)
    | st.lists(FRAGMENTS, max_size=12).map(lambda parts: "".join(parts).encode())
    | st.lists(FRAGMENTS, max_size=12).map(lambda parts: "\n".join(parts).encode())
)


@pytest.mark.parametrize("format", [*ANNOTATED, *UNANNOTATED])
@given(data=BYTES)
@SETTINGS
def test_any_bytes_are_documents_or_a_named_error(format: str, data: bytes) -> None:
    with TemporaryDirectory() as here:
        path = Path(here, "corpus.txt" if format == "brat" else "corpus")
        path.write_bytes(b"A b\nc" if format == "brat" else data)
        if format == "brat":
            path.with_suffix(".ann").write_bytes(data)
        outcome(path if format != "brat" else path.parent, format)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["id", "text", "offset", "length", "passages", "annotations", "locations", "infons", "type", "sentences",
         "entities", "start", "end", "pieces", "score", "relations", "documents"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("format", ["bioc", "jsonl"])
@given(value=JSON, around=st.booleans())
@SETTINGS
def test_any_json_is_documents_or_a_named_error(format: str, value: object, around: bool) -> None:
    with TemporaryDirectory() as here:
        path = Path(here, "corpus")
        passage = {"offset": 0, "text": "ab ab", "annotations": value}
        shaped = {"documents": [{"passages": [passage]}]} if format == "bioc" else {"text": "ab ab", "entities": value}
        path.write_text(json.dumps(shaped if around else value))
        outcome(path, format)


@given(value=st.lists(st.integers(-3, 12), max_size=4), kind=st.sampled_from(["Gene", None, ""]))
@SETTINGS
def test_any_kb_row_is_a_document_or_a_named_error(value: list[int], kind: str | None) -> None:
    entity = {"id": "e", "type": kind, "text": ["ab"], "offsets": [value], "normalized": []}
    passage = {"id": "p", "type": "t", "text": ["ab ab"], "offsets": [value[:2] or [0, 5]]}
    row = {"id": "1", "document_id": "1", "passages": [passage], "entities": [entity], "events": None}
    with TemporaryDirectory() as here:
        path = Path(here, "corpus")
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([row], schema=SCHEMA), sink)
        path.write_bytes(sink.getvalue())
        outcome(path, "bigbio")


def test_a_writer_that_shifts_an_offset_is_caught(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The property's own sabotage: one character off, and the document that comes back is another."""
    document = Document("12", "corpus", 1, "abc def", (Mention(((0, 3),), "Gene"),))
    whole = json_spans.as_json(document)
    shifted = {**whole, "entities": [{**whole["entities"][0], "end": 4}]}
    monkeypatch.setattr(json_spans, "as_json", lambda _: shifted)
    written(folder / "shifted", "jsonl", document)
    assert list(DocumentReading(DocumentSource(folder / "shifted", "jsonl", corpus="corpus"))) != [document]


def test_a_reader_that_swallows_a_mention_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count's own sabotage: a mention that is neither given nor counted breaks the sum of `outcome`."""
    path = tmp_path / "x"
    path.write_text('{"text": "abc", "entities": [{"start": 0, "end": 1, "type": "G"}]}\n')
    outcome(path, "jsonl")
    monkeypatch.setattr(_Pass, "_distinct", lambda self, mentions: [])
    with pytest.raises(AssertionError):
        outcome(path, "jsonl")
