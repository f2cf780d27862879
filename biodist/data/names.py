"""Files of names to exchange mentions for: an OBO ontology, or a table of types and names. Read as streams."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from biodist.data.text_file import FileProblems, LineShape, nearest_declared, numbered_lines

SHAPE = LineShape("names", "a term's tag, or a type and a name, a line", 1 << 20)
WORDS = re.compile(r"\w+|[^\w\s]")  # punctuation is cut off, as the corpora have it
SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s+EXACT\b')


def read_names(path: Path, labels: Sequence[str], rename: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of a file by entity type, their words with a space between each two.

    ``.obo``: each term's name and exact synonyms, obsolete ones left out; their type is the prefix of the term's id
    (``CHEBI``), or what ``rename`` makes of it. Terms of types outside ``labels`` are passed over: ontologies hold
    parts of others. Any other file is a table: type, tab, name; its types must be in ``labels``.

    Raises:
        UserError: the file cannot be read, a line is neither, or no name is of a type in ``labels``.
    """
    problems = FileProblems(path)
    pairs = _terms(path, problems) if path.suffix.lower() == ".obo" else _rows(path, labels, rename, problems)
    found: dict[str, list[str]] = {}
    for kind, name in pairs:
        words = " ".join(WORDS.findall(name))
        kind = rename.get(kind, kind)
        if words and kind in labels:
            found.setdefault(kind, []).append(words)
    if not problems and not found:
        what = f"holds no name of {', '.join(labels)}"
        problems.note(0, what, "name the types of its terms: data.augment.map={CHEBI: Chemical}")
    problems.raise_any()
    return found


def _rows(
    path: Path, labels: Sequence[str], rename: Mapping[str, str], problems: FileProblems
) -> Iterator[tuple[str, str]]:
    for number, line in numbered_lines(path, SHAPE, problems):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) != 2 or not all(map(str.strip, columns)):
            problems.note(number, f"has {len(columns)} columns", "a line is a type, a tab and a name")
            continue
        kind, name = (column.strip() for column in columns)
        renamed = rename.get(kind, kind)
        if renamed not in labels:
            do = f"{nearest_declared(renamed, tuple(labels))}; rename it with data.augment.map"
            problems.note_undeclared(renamed, number, "column 1: entity type that is not declared", do)
            continue
        yield kind, name


def _terms(path: Path, problems: FileProblems) -> Iterator[tuple[str, str]]:
    """Prefix and name of every term: format version 1.2 and 1.4, of which three tags matter here."""
    is_term, is_obsolete, prefix = False, False, ""
    names: list[str] = []
    for _, line in numbered_lines(path, SHAPE, problems):
        if line.startswith("["):
            yield from ((prefix, name) for name in names if is_term and not is_obsolete)
            is_term, is_obsolete, prefix, names = line.strip() == "[Term]", False, "", []
            continue
        tag, _, value = line.partition(":")
        value = value.strip()
        if tag == "id":
            prefix = value.partition(":")[0]
        elif tag == "name":
            names.append(value)
        elif tag == "synonym" and (exact := SYNONYM.match(value)):
            names.append(exact[1].replace('\\"', '"'))
        elif tag == "is_obsolete":
            is_obsolete = value == "true"
    yield from ((prefix, name) for name in names if is_term and not is_obsolete)
