"""BioC, as XML or as JSON, by the ``bioc`` library: a collection of documents, or one document a line.

The library's own readers keep every document they have read, so each is cut out of the file here and handed to it
alone. Passages (or their sentences) become one text in which every offset is the file's own. A mention's type is its
infon ``type``, its score the infon ``score``. Relations are passed over and counted. A name that ends in ``.json`` is
written as JSON, every other as XML.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import bioc
from bioc import biocjson, biocxml
from bioc.biocjson.decoder import parse_doc
from bioc.biocxml.encoder import encode_document
from lxml import etree

from biodist.data.formats.draft import Draft, DraftMention, Findings, Misplaced, joined, shown_id
from biodist.data.formats.json_stream import BrokenJson, JsonStream
from biodist.data.formats.numbers import number_of, score_of
from biodist.data.formats.source import DocumentSource
from biodist.data.formats.writing import CannotHold, FileWriter, covered
from biodist.data.records import Document, Mention

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, LookupError, OverflowError, RecursionError)
LISTS = ("documents", "PubTator3")  # of a collection; of what PubTator 3 exports
DO = "give a BioC collection, as XML or JSON"
HEAD = b"<?xml version='1.0' encoding='utf-8' standalone='yes'?>\n<collection><source/><date/><key/>\n"


def read(source: DocumentSource, findings: Findings) -> Iterator[Draft]:
    """The documents of a file, in order."""
    try:
        with source.path.open("rb") as file:
            if _begins_with(file, b"<"):
                yield from _xml_documents(file, findings)
            else:
                with io.TextIOWrapper(file, encoding="utf-8-sig") as text:
                    yield from _json_documents(text, findings)
    except UnicodeDecodeError:
        findings.problems.note(0, "is not UTF-8", "convert it to UTF-8")
    except OSError as error:
        what = f"cannot be read: {error.strerror or type(error).__name__}"
        findings.problems.note(0, what, "check the path and its rights")


def _begins_with(file: BinaryIO, mark: bytes) -> bool:
    begins = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    return begins.startswith((mark, b"\xff\xfe<", b"\xfe\xff"))


def _xml_documents(file: BinaryIO, findings: Findings) -> Iterator[Draft]:
    """Each document element by itself; what has been read is let go. External entities stay unread: lxml's default for
    `iterparse` from 6.1 on."""
    try:
        for _, element in etree.iterparse(file, events=("end",), tag="document"):
            line = int(element.sourceline or 1)
            alone = b"<collection>" + etree.tostring(element, encoding="utf-8", with_tail=False) + b"</collection>"
            element.clear()
            parent = element.getparent()  # None where the document is the root; a comment may lie before it
            while parent is not None and element.getprevious() is not None:
                del parent[0]
            try:
                (document,) = biocxml.BioCXMLDocumentReader(io.BytesIO(alone))
            except (*UNREADABLE, etree.XMLSyntaxError) as error:
                _note_unreadable(line, error, findings)
                continue
            draft = _draft(line, document, findings)
            if draft is not None:
                yield draft
    except etree.XMLSyntaxError as error:
        findings.problems.note(error.lineno or 0, "is no XML that can be read from here on", DO)
    except (ValueError, LookupError):  # an encoding that nobody knows
        findings.problems.note(0, "is no XML that can be read", DO)


def _json_documents(text: io.TextIOWrapper, findings: Findings) -> Iterator[Draft]:
    """The documents of one collection, or of every object of a file with one a line."""
    stream = JsonStream(text)
    try:
        while stream.peek():
            line = stream.line
            single: dict[str, Any] = {}
            listed = False
            for key in stream.members():
                if key in LISTS and stream.peek() == "[":
                    listed = True
                    for item_line, item in stream.items():
                        yield from _json_document(item_line, item, findings)
                else:
                    single[key] = stream.value()
            if not listed:
                yield from _json_document(line, single, findings)
    except BrokenJson as error:
        findings.problems.note(error.line, "is no JSON that can be read from here on", DO)


def _json_document(line: int, written: object, findings: Findings) -> Iterator[Draft]:
    try:
        document = parse_doc(_filled(written))
    except UNREADABLE as error:
        _note_unreadable(line, error, findings)
        return
    draft = _draft(line, document, findings)
    if draft is not None:
        yield draft


def _filled(written: object) -> dict[str, Any]:
    """A document of JSON with the empty parts that the library wants and many exports leave out."""
    if not isinstance(written, dict) or "passages" not in written:
        raise KeyError("passages")
    parts = {"infons": {}, "annotations": [], "relations": [], **written}
    for level, below in (("passages", "sentences"), ("sentences", "")):
        if level in written:
            parts[level] = [_filled_part(part, below) for part in written[level]]
    parts.setdefault("id", "")
    return parts


def _filled_part(written: dict[str, Any], below: str) -> dict[str, Any]:
    parts = {"infons": {}, "annotations": [], "relations": [], **written}
    if below:
        parts[below] = [_filled_part(part, "") for part in written.get(below, [])]
    parts["annotations"] = [{"id": "", "infons": {}, "text": None, **each} for each in parts["annotations"]]
    return parts


def _note_unreadable(line: int, error: Exception, findings: Findings) -> None:
    lacks = f"lacks {error.args[0]}" if isinstance(error, KeyError) and error.args else "a part of it cannot be read"
    do = "passages have offset and text, annotations locations, offsets are whole numbers"
    findings.problems.note(line, f"document: {lacks}", do)


# --- from the library's document ---------------------------------------------------------------------------------


def _draft(line: int, document: bioc.BioCDocument, findings: Findings) -> Draft | None:
    """The document's texts, and the mentions on every level of it."""
    name = str(document.id) if document.id is not None else ""
    levels: list[Any] = [document]
    passages: list[tuple[int, str]] = []
    for passage in document.passages:
        levels += [passage, *passage.sentences]
        parts = [passage] if passage.text or not passage.sentences else passage.sentences
        passages += [(part.offset, part.text or "") for part in parts]
    mentions = []
    for level in levels:
        findings.passed_over["relations"] += len(level.relations)
        mentions += [_mention(line, each) for each in level.annotations]
    findings.passed_over += type(findings.passed_over)()  # drops kinds of which there is none
    try:
        if not all(isinstance(text, str) and number_of(offset) is not None for offset, text in passages):
            raise Misplaced("a passage without an offset (a whole number) or a text")
        text = joined(passages)
    except Misplaced as error:
        findings.problems.note(line, f"document {shown_id(name)}: {error}", "passages go by their offsets, from 0")
        return None
    return Draft(name, line, text, mentions, len(mentions))


def _mention(line: int, written: bioc.BioCAnnotation) -> DraftMention:
    kind = (written.infons or {}).get("type")
    places = [(number_of(each.offset), number_of(each.length)) for each in written.locations]
    pieces = [(start or 0, (start or 0) + (length or 0)) for start, length in places]
    if any(start is None or length is None for start, length in places):
        pieces = []
    said = written.text if isinstance(written.text, str) and written.text else None
    score = score_of((written.infons or {}).get("score"))
    return DraftMention(line, kind if isinstance(kind, str) else "", pieces, said, score)


# --- to the library's document -----------------------------------------------------------------------------------


def _as_bioc(document: Document) -> bioc.BioCDocument:
    """One passage with the whole text."""
    written, passage = bioc.BioCDocument(), bioc.BioCPassage()
    written.id, passage.offset, passage.text = document.document, 0, document.text
    for number, each in enumerate(document.mentions, start=1):
        passage.add_annotation(_annotation(number, each, document.text))
    written.add_passage(passage)
    return written


def _annotation(number: int, mention: Mention, text: str) -> bioc.BioCAnnotation:
    written = bioc.BioCAnnotation()
    written.id, written.infons["type"] = str(number), mention.type
    written.text = covered(text, mention.pieces)
    if mention.score is not None:
        written.infons["score"] = repr(mention.score)
    for start, end in mention.pieces:
        written.add_location(bioc.BioCLocation(start, end - start))
    return written


class Writer(FileWriter):
    """Writes one collection, a document at a time."""

    def __init__(self, path: Path):
        self._json = path.suffix == ".json"
        super().__init__(path)
        self._written = 0
        self._file.write(b'{"source": "", "date": "", "key": "", "infons": {}, "documents": [' if self._json else HEAD)

    def write(self, document: Document) -> None:
        """Raises CannotHold for control characters, which XML 1.0 has not."""
        if self._json:
            object_of = json.loads(biocjson.dumps(_as_bioc(document)))
            data = (",\n" if self._written else "\n") + json.dumps(object_of, ensure_ascii=False)
            self._file.write(data.encode("utf-8"))
        else:
            try:
                element = encode_document(_as_bioc(document))
            except ValueError:
                raise CannotHold(
                    "holds a control character, which XML cannot", "write BioC JSON: --out x.json"
                ) from None
            self._file.write(etree.tostring(element, encoding="utf-8") + b"\n")
        self._written += 1

    def _finish(self) -> None:
        self._file.write(b"\n]}\n" if self._json else b"</collection>\n")
