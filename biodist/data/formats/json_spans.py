"""JSON lines with spans: ``{"id": …, "text": …, "entities": [{"start": 0, "end": 5, "type": "Gene"}]}``.

Every field can be called otherwise (`SpanFields`). An entity may also be a list ``[start, end, type]``. A
discontinuous one has ``pieces``: a list of [start, end]. ``score`` is optional.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from biodist.config.recipe import SpanFields
from biodist.data.formats.draft import Draft, DraftMention, Findings, shown_id
from biodist.data.formats.numbers import number_of, score_of
from biodist.data.formats.source import DocumentSource
from biodist.data.formats.writing import FileWriter
from biodist.data.records import Document, Mention, Piece
from biodist.data.rows import Row, json_rows


def read(source: DocumentSource, findings: Findings) -> Iterator[Draft]:
    """The documents of a file, one a line."""
    fields, problems = source.fields, findings.problems
    for row in json_rows(source.path, problems):
        text = row.values.get(fields.text)
        written = row.values.get(fields.entities, [])
        if not isinstance(text, str):
            what = f"field {fields.text}: is no text" if fields.text in row.values else f"has no field {fields.text}"
            problems.note(row.line, what, "name the fields in fields (--fields)")
        elif not isinstance(written, list):
            problems.note(row.line, f"field {fields.entities}: is no list", "write a list of entities; [] for none")
        else:
            yield _draft(row, text, written, fields, findings)


def _draft(row: Row, text: str, written: list[Any], fields: SpanFields, findings: Findings) -> Draft:
    name = row.values.get(fields.id, "")
    name = str(name) if isinstance(name, str | int) and not isinstance(name, bool) else ""
    draft = Draft(name, row.line, text, found=len(written))
    for number, each in enumerate(written, start=1):
        mention = _mention(row.line, each, fields)
        if mention is None:
            what = f"document {shown_id(name)}: entity {number:,} cannot be read"
            do = f"write {fields.start}, {fields.end} (whole numbers) and {fields.type} (a text) of each"
            findings.problems.note(row.line, what, do)
        else:
            draft.mentions.append(mention)
    return draft


def _mention(line: int, written: object, fields: SpanFields) -> DraftMention | None:
    if isinstance(written, list) and len(written) == 3:
        written = {fields.start: written[0], fields.end: written[1], fields.type: written[2]}
    if not isinstance(written, Mapping):
        return None
    kind = written.get(fields.type)
    pieces = _pieces(written, fields)
    score = score_of(written.get("score"))
    if not isinstance(kind, str) or pieces is None or (score is None and written.get("score") is not None):
        return None
    said = written.get("text")
    return DraftMention(line, kind, pieces, said if isinstance(said, str) else None, score)


def _pieces(written: Mapping[str, Any], fields: SpanFields) -> list[Piece] | None:
    pieces = written.get("pieces")
    if pieces is None:
        pieces = [[written.get(fields.start), written.get(fields.end)]]
    if not isinstance(pieces, list):
        return None
    found: list[Piece] = []
    for piece in pieces:
        ends = [number_of(end) for end in piece if isinstance(end, int)] if isinstance(piece, list) else []
        if len(ends) != 2 or len(piece) != 2 or ends[0] is None or ends[1] is None:
            return None
        found.append((ends[0], ends[1]))
    return found


def as_json(document: Document) -> dict[str, Any]:
    """A document as the object of one line."""
    entities = [_entity(each) for each in document.mentions]
    return {"id": document.document, "text": document.text, "entities": entities}


def _entity(mention: Mention) -> dict[str, Any]:
    written: dict[str, Any] = {"start": mention.start, "end": mention.end, "type": mention.type}
    if len(mention.pieces) > 1:
        written["pieces"] = [list(piece) for piece in mention.pieces]
    return written if mention.score is None else {**written, "score": mention.score}


class Writer(FileWriter):
    """Writes one file."""

    def write(self, document: Document) -> None:
        self._file.write(json.dumps(as_json(document), ensure_ascii=False).encode("utf-8") + b"\n")
