"""Which file is read as what: the description of a corpus whose format marks characters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from biodist.config.recipe import SpanFields

DocumentFormat = Literal["brat", "pubtator", "bioc", "jsonl", "bigbio", "text", "lines"]
Policy = Literal["flatten", "refuse", "keep"]
ANNOTATED: tuple[DocumentFormat, ...] = ("brat", "pubtator", "bioc", "jsonl", "bigbio")
UNANNOTATED: tuple[DocumentFormat, ...] = ("text", "lines")
MODULES: dict[DocumentFormat, str] = {  # of this package: `read`, and `Writer` of those that are annotated
    "brat": "brat", "pubtator": "pubtator", "bioc": "bioc_files", "jsonl": "json_spans", "bigbio": "bigbio",
    "text": "plain_text", "lines": "plain_text",
}  # fmt: skip
OUTSIDE = "O"  # what `map` renames a type to that is to be left out


@dataclass(frozen=True)
class Hub:
    """Where on a hub a data set lies, beside its id: its configuration, its split, its revision."""

    subset: str | None = None
    part: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class DocumentSource:
    """One corpus (a file, a folder, a data set's id) and how it is read.

    ``declared`` are the types it may hold, after ``rename`` (None: any); a type renamed to ``O`` is left out and
    counted. ``overlaps`` and ``discontinuous`` say what becomes of mentions that share characters or have gaps:
    ``flatten`` to one layer, ``refuse``, or ``keep``.
    """

    path: Path
    format: DocumentFormat
    corpus: str = ""
    declared: tuple[str, ...] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    overlaps: Policy = "keep"
    discontinuous: Policy = "keep"
    fields: SpanFields = field(default_factory=SpanFields)
    hub: Hub = field(default_factory=Hub)

    @property
    def name(self) -> str:
        return self.corpus or self.path.stem
