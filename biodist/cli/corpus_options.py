"""Corpora named on the command line: what options say of a file, as a reader takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from biodist.errors import Problem, UserError

if TYPE_CHECKING:
    from biodist.config.recipe import Columns, SpanFields
    from biodist.data.check import AnySource
    from biodist.data.formats.source import Policy
    from biodist.data.texts import TextFormat

Tagged = Literal["iob", "iob2", "iobes", "conll"]
Spans = Literal["brat", "pubtator", "bioc", "jsonl", "bigbio"]
CorpusFormat = Literal[
    "iob", "iob2", "iobes", "conll", "brat", "pubtator", "bioc", "bigbio", "jsonl", "tsv", "csv", "pubmedqa"
]
TaskOfFile = Literal["ner", "nli", "classification"]


def corpus_source(
    file: Path,
    format: CorpusFormat,
    task: TaskOfFile | None = None,
    columns: str = "",
    fields: str = "",
    labels: str = "",
    renamed: str = "",
    multi_label: bool = False,
    repair: bool = False,
    overlaps: Policy = "keep",
    discontinuous: Policy = "keep",
) -> AnySource:
    """The source that the options of a command describe. JSON lines hold pairs of texts, or spans under task ner.

    Raises UserError where an option cannot be read.
    """
    from biodist.data.formats.source import DocumentSource
    from biodist.data.iob import Source
    from biodist.data.texts import TextSource

    declared, rename = declared_labels(labels), renaming(renamed)
    if format in get_args(Tagged):
        return Source(file, cast(Tagged, format), declared=declared, rename=rename, repair=repair)
    if format in get_args(Spans) and (format != "jsonl" or task == "ner"):
        spans, named = cast(Spans, format), span_fields(fields)
        return DocumentSource(file, spans, "", declared, rename, overlaps, discontinuous, named)
    text_format = cast("TextFormat", format)
    chosen = task or ("classification" if format == "pubmedqa" else "nli")
    if chosen == "ner":
        raise UserError(Problem(f"--task ner --format {format}", "is no format of entities", "give another of the two"))
    named_columns = text_columns(text_format, chosen, columns)
    unsure = chosen == "nli"
    return TextSource(file, text_format, named_columns, "", declared, rename, multi_label, no_majority=unsure)


def declared_labels(labels: str) -> tuple[str, ...] | None:
    """The types of ``--labels``; None where it is not given."""
    declared = tuple(dict.fromkeys(kind.strip() for kind in labels.split(",") if kind.strip())) or None
    if labels and declared is None:
        raise UserError(
            Problem("--labels", f"names no type: {labels!r}", "give names with commas between: Disease,Gene")
        )
    return declared


def renaming(written: str) -> Mapping[str, str]:
    """``--map DISO=Disease,CHEM=O``: O leaves a type out."""
    return _pairs("--map", written, "OLD=NEW")


def span_fields(written: str) -> SpanFields:
    """The fields of JSON lines with those that ``--fields`` names in their place."""
    from biodist.config.recipe import SpanFields

    return SpanFields(**_pairs("--fields", written, "", tuple(SpanFields.model_fields)))


def text_columns(format: TextFormat, task: Literal["nli", "classification"], written: str) -> Columns:
    """The columns of a file by format and task, with those that ``--columns`` names in their place."""
    from biodist.config.recipe import Columns, CorpusEntry

    named = _pairs("--columns", written, "", tuple(Columns.model_fields))
    return CorpusEntry(path="-", format=format, columns=Columns(**named)).columns_for(task)


def _pairs(option: str, written: str, shape: str, known: tuple[str, ...] = ()) -> dict[str, str]:
    """``a=b,c=d``; of the ``known`` names alone, where there are any."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in written.split(","))):
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if not equals or not role or not name or (known and role not in known):
            what = "column" if option == "--columns" else "field" if known else "type"
            do = "give some of " + ", ".join(f"{role}=NAME" for role in known) if known else f"write {shape}"
            raise UserError(Problem(option, f"{part!r} names no {what}", do))
        found[role] = name
    return found
