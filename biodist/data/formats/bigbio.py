"""BigBIO's kb schema: Parquet files (one, or a folder of them), a folder that `datasets` saved, or a data set's hub id.

Parquet is read a batch at a time by pyarrow; saved folders and hubs are read by `datasets`, which maps its files into
memory. Passages become one text in which every offset is the file's own. Events, relations and coreferences are passed
over and counted. Lines are rows, from 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from biodist.config.corpora import is_hub_id
from biodist.data.formats.draft import Draft, DraftMention, Findings, Misplaced, joined, shown_id
from biodist.data.formats.numbers import number_of
from biodist.data.formats.source import DocumentSource
from biodist.data.formats.writing import FileWriter
from biodist.data.records import Document
from biodist.errors import Problem, UserError

ROWS = 256
OTHERS = ("events", "coreferences", "relations")
SAVED = ("dataset_info.json", "state.json", "dataset_dict.json")

_SPANS = pa.list_(pa.list_(pa.int32()))
_TEXTS = pa.list_(pa.string())
_LINKS = pa.list_(pa.struct({"db_name": pa.string(), "db_id": pa.string()}))
_TRIGGER = pa.struct({"text": _TEXTS, "offsets": _SPANS})
_ARGUMENTS = pa.list_(pa.struct({"role": pa.string(), "ref_id": pa.string()}))
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "document_id": pa.string(),
        "passages": pa.list_(pa.struct({"id": pa.string(), "type": pa.string(), "text": _TEXTS, "offsets": _SPANS})),
        "entities": pa.list_(
            pa.struct({"id": pa.string(), "type": pa.string(), "text": _TEXTS, "offsets": _SPANS, "normalized": _LINKS})
        ),
        "events": pa.list_(
            pa.struct({"id": pa.string(), "type": pa.string(), "trigger": _TRIGGER, "arguments": _ARGUMENTS})
        ),
        "coreferences": pa.list_(pa.struct({"id": pa.string(), "entity_ids": _TEXTS})),
        "relations": pa.list_(
            pa.struct(
                {
                    "id": pa.string(),
                    "type": pa.string(),
                    "arg1_id": pa.string(),
                    "arg2_id": pa.string(),
                    "normalized": _LINKS,
                }
            )
        ),
    }
)


def read(source: DocumentSource, findings: Findings) -> Iterator[Draft]:
    """The documents of a data set, in order."""
    number = 0
    try:
        for number, row in enumerate(_rows(source), start=1):
            draft = _draft(number, row, findings)
            if draft is not None:
                yield draft
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        do = "give a Parquet file, a folder of them, or one that `datasets` saved"
        findings.problems.note(number, f"cannot be read as Parquet or a saved data set ({reason})", do)


def rows_digest(source: DocumentSource) -> str:
    """SHA-256 over the rows of a data set on a hub, which has no file here to be hashed."""
    digest = hashlib.sha256()
    for row in _rows(source):
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def _rows(source: DocumentSource) -> Iterator[Mapping[str, Any]]:
    path = source.path
    if is_hub_id(str(path)):
        return iter(_hub(source))
    if path.is_dir() and any((path / name).is_file() for name in SAVED):
        return iter(_saved(source))
    return _parquet_rows(sorted(path.rglob("*.parquet")) if path.is_dir() else [path])


def _parquet_rows(files: list[Path]) -> Iterator[Mapping[str, Any]]:
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=ROWS):
                yield from batch.to_pylist()


def _saved(source: DocumentSource) -> Any:
    from datasets import DatasetDict, load_from_disk

    loaded = load_from_disk(str(source.path))
    return _part(loaded, source) if isinstance(loaded, DatasetDict) else loaded


def _hub(source: DocumentSource) -> Any:
    from datasets import DatasetDict, load_dataset

    name = str(source.path)
    try:
        loaded = load_dataset(name, source.hub.subset, revision=source.hub.revision)
    except Exception as error:  # whatever a hub, a network or a foreign repository can be wrong in
        what = f"is no folder here, and no data set that a hub gives ({type(error).__name__})"
        do = (
            "check id, subset and revision; scripts are not run: revision refs/convert/parquet has most sets as Parquet"
        )
        raise UserError(Problem(name, what, do)) from error
    return _part(loaded, source) if isinstance(loaded, DatasetDict) else loaded


def _part(loaded: Any, source: DocumentSource) -> Any:
    wanted = source.hub.part
    if wanted in loaded:
        return loaded[wanted]
    if wanted is None and len(loaded) == 1:
        return next(iter(loaded.values()))
    what = "has several parts, and none is named" if wanted is None else f"has no part {wanted}"
    raise UserError(Problem(str(source.path), what, f"part is one of {', '.join(loaded)}"))


def _draft(number: int, row: Mapping[str, Any], findings: Findings) -> Draft | None:
    name = str(row.get("document_id") or row.get("id") or "")
    for kind in OTHERS:
        if row.get(kind):
            findings.passed_over[kind] += len(row[kind])
    try:
        passages = [
            (piece[0], text)
            for passage in row["passages"]
            for piece, text in zip(passage["offsets"], passage["text"], strict=True)
        ]
        entities = row["entities"]
        mentions = [_mention(number, each) for each in entities]
        if any(number_of(offset) is None or not isinstance(text, str) for offset, text in passages):
            raise Misplaced("a passage without an offset (a whole number) or a text")
        return Draft(name, number, joined(passages), mentions, len(entities))
    except Misplaced as error:
        findings.problems.note(number, f"document {shown_id(name)}: {error}", "passages go by their offsets, from 0")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        what = f"document {shown_id(name)}: is no row of BigBIO's kb schema"
        findings.problems.note(number, what, "it has passages and entities, each with text and offsets")
    return None


def _mention(number: int, written: Mapping[str, Any]) -> DraftMention:
    pieces = [(int(start), int(end)) for start, end in written["offsets"]]
    said = written.get("text")
    kind = written["type"]
    return DraftMention(number, kind if isinstance(kind, str) else "", pieces, " ".join(said) if said else None)


class Writer(FileWriter):
    """Writes one Parquet file, a batch of rows at a time. The schema has no place for scores."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._rows: list[dict[str, Any]] = []
        self._parquet = pq.ParquetWriter(self._file, SCHEMA, compression="zstd")

    def write(self, document: Document) -> None:
        name, text = document.document, document.text
        passage = {"id": f"{name}-text", "type": "text", "text": [text], "offsets": [[0, len(text)]]}
        entities = [
            {
                "id": f"{name}-{number}",
                "type": each.type,
                "text": [text[start:end] for start, end in each.pieces],
                "offsets": [list(piece) for piece in each.pieces],
                "normalized": [],
            }
            for number, each in enumerate(document.mentions, start=1)
        ]
        row = {"id": name, "document_id": name, "passages": [passage], "entities": entities}
        self._rows.append({**row, **{kind: [] for kind in OTHERS}})
        if len(self._rows) == ROWS:
            self._flush()

    def _flush(self) -> None:
        self._parquet.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows = []

    def _finish(self) -> None:
        if self._rows:
            self._flush()

    def _release(self) -> None:
        self._parquet.close()
