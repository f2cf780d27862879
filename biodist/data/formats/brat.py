"""Brat standoff: a folder of ``name.txt`` with ``name.ann`` beside it (https://brat.nlplab.org/standoff.html).

Entities are the lines that begin with T. Relations, events, attributes, notes and the like are passed over and
counted; a note of type ``Score`` is a mention's score. Offsets count characters of the text as it lies on the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from biodist.data.formats.draft import Draft, DraftMention, Findings
from biodist.data.formats.numbers import number_of, score_of
from biodist.data.formats.source import DocumentSource
from biodist.data.formats.writing import CannotHold, FolderOut, covered, refuse_blank_type
from biodist.data.records import Document
from biodist.data.text_file import LineShape, numbered_lines

SHAPE = LineShape("brat annotations", "one annotation a line", 1 << 24)
ENTITY = re.compile(r"(?P<type>[^ ]+) (?P<pieces>[0-9]+ [0-9]+(?:;[0-9]+ [0-9]+)*)")
OTHERS = {"R": "relations", "*": "relations", "E": "events", "A": "attributes", "M": "attributes", "#": "notes",
          "N": "normalisations"}  # fmt: skip
SCORE = "Score"
LONGEST_NAME_BYTES = 240


def read(source: DocumentSource, findings: Findings) -> Iterator[Draft]:
    """The documents of a folder by name, or one document: a path of a .txt or .ann file."""
    for text_path in _texts(source.path, findings):
        annotations = text_path.with_suffix(".ann")
        text = text_of(text_path, findings)
        if text is None:
            continue
        draft = Draft(text_path.stem, 1, text, path=annotations)
        _annotate(draft, annotations, findings)
        yield draft


def text_of(path: Path, findings: Findings) -> str | None:
    """A text file as it lies there, line ends untouched; None where it is a problem."""
    try:
        data = path.read_bytes()
    except OSError as error:
        what = f"cannot be read: {error.strerror or type(error).__name__}"
        findings.problems.note(0, what, "check the path and its rights", path)
        return None
    if b"\0" in data:
        findings.problems.note(0, "is binary (a zero byte)", "give a text file", path)
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        findings.problems.note(0, f"is not UTF-8 from byte {error.start + 1} on", "convert it to UTF-8", path)
        return None


def _texts(path: Path, findings: Findings) -> Iterator[Path]:
    """The text files, each with an .ann file beside it; what lacks its other half is a problem."""
    if not path.is_dir():
        path = path.with_suffix(".txt") if path.suffix == ".ann" else path
        if path.suffix != ".txt":
            findings.problems.note(0, "is neither a folder nor a .txt or .ann file", "give one of these", path)
            return
        names = [path.with_suffix(".ann").name, path.name]
        folder = path.parent
    else:
        folder = path
        try:
            names = sorted(each.name for each in folder.iterdir() if each.suffix in (".txt", ".ann"))
        except OSError as error:
            what = f"cannot be read: {error.strerror or type(error).__name__}"
            findings.problems.note(0, what, "check the path and its rights", folder)
            return
    for name in names:
        other = (folder / name).with_suffix(".txt" if name.endswith(".ann") else ".ann")
        if (folder / name).is_file() and not other.is_file():
            findings.problems.note(
                0, f"has no {other.name} beside it", "add it; an .ann file may be empty", folder / name
            )
        elif name.endswith(".txt"):
            yield folder / name


def _annotate(draft: Draft, path: Path, findings: Findings) -> None:
    """The mentions of an .ann file, and their scores."""
    scores: dict[str, float] = {}
    named: dict[str, DraftMention] = {}
    for number, line in numbered_lines(path, SHAPE, findings.problems):
        kind = line[:1]
        if not line.strip():
            continue
        if kind == "T":
            draft.found += 1
            mention = _mention(number, line)
            if mention is None:
                what, do = "is no entity that can be read", "write ID, tab, TYPE START END, tab, the text it covers"
                findings.problems.note(number, what, do, path)
                continue
            draft.mentions.append(mention)
            named[line.split("\t")[0]] = mention
        elif kind == "#" and (said := _score(line)):
            scores[said[0]] = said[1]
        elif kind in OTHERS:
            findings.passed_over[OTHERS[kind]] += 1
        else:
            findings.problems.note(number, "begins with no letter of brat's: T, R, E, A, M, N, # or *", "", path)
    for name, score in scores.items():
        if name in named:
            named[name].score = score


def _mention(number: int, line: str) -> DraftMention | None:
    columns = line.split("\t", 2)
    found = ENTITY.fullmatch(columns[1]) if len(columns) > 1 else None
    if found is None:
        return None
    places = [[number_of(end) for end in piece.split(" ")] for piece in found["pieces"].split(";")]
    if any(end is None for piece in places for end in piece):
        return None
    pieces = [(piece[0] or 0, piece[1] or 0) for piece in places]
    return DraftMention(number, found["type"], pieces, columns[2] if len(columns) > 2 else None)


def _score(line: str) -> tuple[str, float] | None:
    """The entity's name and score of a note that says one."""
    columns = line.split("\t")
    if len(columns) != 3 or not columns[1].startswith(f"{SCORE} "):
        return None
    score = score_of(columns[2])
    return None if score is None else (columns[1].removeprefix(f"{SCORE} "), score)


class Writer:
    """Writes documents into a folder that is renamed into place when the writing ends well."""

    def __init__(self, path: Path):
        self._folder = FolderOut(path)
        self.changed = 0

    def write(self, document: Document) -> None:
        """Raises CannotHold where the id cannot name a file, or a type has blanks."""
        name = document.document
        stem_survives = Path(f"{name}.txt").name == f"{name}.txt" and Path(f"{name}.txt").stem == name
        if not stem_survives or "\0" in name or len(name.encode()) > LONGEST_NAME_BYTES:
            raise CannotHold("has an id that can name no file", "give ids without slashes")
        if "\0" in document.text:
            raise CannotHold("holds a zero character", "remove it")
        lines = []
        for number, each in enumerate(document.mentions, start=1):
            refuse_blank_type(each.type)
            pieces = ";".join(f"{start} {end}" for start, end in each.pieces)
            lines.append(f"T{number}\t{each.type} {pieces}\t{covered(document.text, each.pieces)}\n")
            if each.score is not None:
                lines.append(f"#{number}\t{SCORE} T{number}\t{each.score!r}\n")
        if (self._folder.here / f"{name}.txt").exists():
            raise CannotHold("has the id of a document written before it", "give each document an id of its own")
        (self._folder.here / f"{name}.txt").write_bytes(document.text.encode("utf-8"))
        (self._folder.here / f"{name}.ann").write_bytes("".join(lines).encode("utf-8"))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._folder.close(kind is None)
