"""Writes tagged files, IOB2 or IOBES: a token and its tag a line, what `biodist.data.iob` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biodist.data.formats.writing import CannotHold, FileWriter, refuse_blank_type
from biodist.data.records import Entity, Record

BREAKING = "\t\r\n\0"


class TaggedWriter(FileWriter):
    """Writes one file, whole or not at all. Documents begin with a -DOCSTART- line where they have a name."""

    def __init__(self, path: Path, iobes: bool = False):
        super().__init__(path)
        self._iobes = iobes
        self._document: str | None = None

    def write(self, record: Record, document: str | None = None, scores: Sequence[float] | None = None) -> None:
        """One sentence; ``scores`` make a column between token and tag.

        Raises CannotHold for tokens with tabs and the like. A blank inside one stays: columns are cut at tabs.
        """
        for token in record.tokens:
            if token != token.strip(" ") or not token or any(c in token for c in BREAKING):
                what = "has an empty token, or one with a tab, a line end or a blank around it"
                raise CannotHold(what, "tokens and tags stand in columns")
            if token.startswith("-DOCSTART-"):
                raise CannotHold("has the token -DOCSTART-, which begins a document", "write it otherwise")
        for entity in record.entities:
            refuse_blank_type(entity.type)
        if document is not None and any(c in document for c in "()\r\n\0"):
            raise CannotHold("has an id with brackets or a line end", "rename the document")
        lines = []
        if document is not None and document != self._document:
            lines.append(f"-DOCSTART- ({document})\n\n")
            self._document = document
        tags = tags_of(record.entities, len(record.tokens), self._iobes)
        if scores is None:
            lines += [f"{token}\t{tag}\n" for token, tag in zip(record.tokens, tags, strict=True)]
        else:
            rows = zip(record.tokens, scores, tags, strict=True)
            lines += [f"{token}\t{score:.6g}\t{tag}\n" for token, score, tag in rows]
        self._file.write(("".join(lines) + "\n").encode("utf-8"))


def tags_of(entities: Sequence[Entity], words: int, iobes: bool = False) -> list[str]:
    """The tag of each word."""
    tags = ["O"] * words
    for each in entities:
        for word in range(each.start, each.end):
            prefix = "B" if word == each.start else "I"
            if iobes and word == each.end - 1:
                prefix = "S" if prefix == "B" else "E"
            tags[word] = f"{prefix}-{each.type}"
    return tags
