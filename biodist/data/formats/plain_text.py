"""Texts without annotations, to be predicted: ``text`` (a file, or each .txt of a folder, is a document) and
``lines`` (each line is one)."""

from __future__ import annotations

from collections.abc import Iterator

from biodist.data.formats.brat import text_of
from biodist.data.formats.draft import Draft, Findings
from biodist.data.formats.source import DocumentSource
from biodist.data.text_file import LineShape, numbered_lines

SHAPE = LineShape("texts", "one document a line", 1 << 26)
LARGEST_BYTES = 1 << 26  # of one document: it and all that is made of it is in memory at once


def read(source: DocumentSource, findings: Findings) -> Iterator[Draft]:
    """The documents of a file or folder, by name; of ``lines`` each that is not blank, its number its id."""
    if source.format == "lines":
        for number, line in numbered_lines(source.path, SHAPE, findings.problems):
            if line.strip():
                yield Draft(str(number), number, line)
        return
    paths = sorted(source.path.glob("*.txt")) if source.path.is_dir() else [source.path]
    for path in paths:
        if path.is_file() and path.stat().st_size > LARGEST_BYTES:
            what = f"is one document of {path.stat().st_size:,} bytes; the most is {LARGEST_BYTES:,}"
            findings.problems.note(0, what, "part it: --format lines or jsonl, a document a line", path)
            continue
        text = text_of(path, findings)
        if text is not None:
            yield Draft(path.stem, 1, text, path=path)
