"""PubTator: ``id|t|title``, ``id|a|abstract``, then a line a mention; a blank line ends a document.

The abstract begins one character behind the title. Mentions are lines of id, start, end, text, type, concept; other
lines cut at tabs are relations, passed over and counted. Our own files have the score as a seventh column. The
``bioc`` library reads this format too, but prints lines that it cannot read, and what is wrong with them goes unsaid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from biodist.data.formats.draft import Draft, DraftMention, Findings, joined
from biodist.data.formats.numbers import number_of, score_of
from biodist.data.formats.source import DocumentSource
from biodist.data.formats.writing import CannotHold, FileWriter, covered, refuse_blank_type
from biodist.data.records import Document
from biodist.data.text_file import LineShape, numbered_lines

SHAPE = LineShape("PubTator documents", "a title, an abstract or an annotation a line", 1 << 26)
PASSAGE = re.compile(r"(?P<id>[^|\t]*)\|(?P<part>[ta])\|(?P<text>.*)", re.DOTALL)
LEAST_COLUMNS = 5
SCORE = "score="


class _Open:
    """The document being read."""

    def __init__(self, document: str, line: int):
        self.id, self.line = document, line
        self.passages: dict[str, str] = {}
        self.mentions: list[DraftMention] = []
        self.found = 0

    def draft(self) -> Draft:
        title, abstract = self.passages.get("t"), self.passages.get("a")
        passages = [(0, title or "")]
        if abstract is not None:
            passages.append((len(title or "") + 1, abstract))
        return Draft(self.id, self.line, joined(passages), self.mentions, self.found)


def read(source: DocumentSource, findings: Findings) -> Iterator[Draft]:
    """The documents of a file, in order."""
    problems, document = findings.problems, None
    for number, line in numbered_lines(source.path, SHAPE, problems):
        if not line.strip():
            if document is not None:
                yield document.draft()
            document = None
            continue
        passage = PASSAGE.match(line)
        if passage is None:
            _annotation(number, line, document, findings)
            continue
        if document is not None and passage["part"] == "t" and document.id != passage["id"]:
            yield document.draft()  # no blank line between two documents
            document = None
        document = document or _Open(passage["id"], number)
        if document.id != passage["id"]:
            problems.note(number, "has another id than the document it stands in", "end each document by a blank line")
        elif passage["part"] in document.passages:
            problems.note(number, "gives its document a second title or abstract", "keep one")
        else:
            document.passages[passage["part"]] = passage["text"]
    if document is not None:
        yield document.draft()


def _annotation(number: int, line: str, document: _Open | None, findings: Findings) -> None:
    """A mention into its document; a relation is counted; anything else is a problem."""
    columns = line.split("\t")
    problems = findings.problems
    if document is None:
        problems.note(number, "is outside a document", "begin a document with id|t| and its title")
    elif columns[0] != document.id:
        problems.note(number, "has another id than the document it stands in", "end each document by a blank line")
    elif len(columns) in (4, 5) and number_of(columns[1]) is None:
        findings.passed_over["relations"] += 1
    elif len(columns) < LEAST_COLUMNS or None in (ends := [number_of(column) for column in columns[1:3]]):
        do = "a mention is id, start, end, text, type and concept, tabs between"
        document.found += len(columns) >= LEAST_COLUMNS
        problems.note(number, "is neither a title, an abstract, a mention nor a relation", do)
    else:
        document.found += 1
        scored = [score_of(column.removeprefix(SCORE)) for column in columns[6:] if column.startswith(SCORE)]
        mention = DraftMention(number, columns[4], [(ends[0] or 0, ends[1] or 0)], columns[3] or None)
        mention.score = scored[0] if scored else None
        document.mentions.append(mention)


class Writer(FileWriter):
    """Writes one file. The first line end of a text parts title and abstract; further ones become blanks, counted."""

    def write(self, document: Document) -> None:
        """Raises CannotHold for ids and types with tabs and the like, for discontinuous mentions and zero bytes."""
        name, text = document.document, document.text
        if any(c in "|\t\n\r\0" for c in name):
            raise CannotHold("has an id that holds a bar, a tab or a line end", "rename the document")
        if "\0" in text:
            raise CannotHold("holds a zero character", "remove it")
        title, ended, abstract = text.partition("\n")
        flat = [part.replace("\n", " ").replace("\r", " ") for part in (title, abstract)]
        lines = [f"{name}|t|{flat[0]}\n"] + ([f"{name}|a|{flat[1]}\n"] if ended else [])
        for each in document.mentions:
            refuse_blank_type(each.type)
            if len(each.pieces) > 1:
                raise CannotHold(
                    "has a discontinuous mention, which this format cannot say", "give --discontinuous flatten"
                )
            score = "" if each.score is None else f"\t{SCORE}{each.score!r}"
            place = f"{name}\t{each.start}\t{each.end}\t{covered(text, each.pieces)}"
            lines.append(f"{place}\t{each.type}\t-{score}\n")
        self.changed += sum(a != b for a, b in zip(title + abstract, "".join(flat), strict=True))
        self._file.write(("".join(lines) + "\n").encode("utf-8"))
