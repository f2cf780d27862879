"""A corpus file as numbered lines of text, and the problems met while it is read. No message quotes the file."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from biodist.errors import Problem, UserError

PROBLEMS_LISTED = 50  # a file; the rest is counted
BLOCK_BYTES = 1 << 16  # read at once; lines are far shorter
BOM = b"\xef\xbb\xbf"
BOMS_OF_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(slots=True)
class _Undeclared:
    """A label outside the list: its first place, and on how many lines it stands."""

    line: int
    what: str
    do: str
    path: Path | None = None
    lines: int = 1


class FileProblems:
    """The problems of one file: the first 50 in full, the rest counted. False while there is none."""

    def __init__(self, path: Path):
        self._path = path
        self._noted: list[tuple[str, int, Problem]] = []
        self._undeclared: dict[str, _Undeclared] = {}
        self._undecodable = self._unlisted = 0

    def __bool__(self) -> bool:
        return bool(self._noted or self._undeclared)

    def note(self, line: int, what: str, do: str = "", path: Path | None = None) -> None:
        """One problem; line 0 is the file as a whole. ``path`` is the file where the corpus is a folder of them."""
        if len(self._noted) >= PROBLEMS_LISTED:
            self._unlisted += 1
            return
        file = str(path or self._path)
        self._noted.append((file, line, Problem(f"{file}:{line}" if line else file, what, do)))

    def note_undeclared(self, label: str, line: int, what: str, do: str, path: Path | None = None) -> None:
        """One problem a label, with its first line, not one for each of its thousand occurrences."""
        if label in self._undeclared:
            self._undeclared[label].lines += 1
        elif len(self._undeclared) < PROBLEMS_LISTED:
            self._undeclared[label] = _Undeclared(line, what, do, path)
        else:
            self._unlisted += 1

    def note_undecodable(self, line: int, byte: int, path: Path | None = None) -> None:
        """The first line that is not UTF-8 is a problem of its own; the others are counted."""
        if not self._undecodable:
            self.note(line, f"is not UTF-8 from byte {byte} of the line on", "convert it to UTF-8", path)
        self._undecodable += 1

    def raise_any(self) -> None:
        """Raises UserError with every problem, in the order of the lines, if there is one."""
        for found in self._undeclared.values():
            more = f", here and on {found.lines - 1:,} more lines" if found.lines > 1 else ""
            self.note(found.line, found.what + more, found.do, found.path)
        problems = [problem for *_, problem in sorted(self._noted, key=lambda noted: noted[:2])]
        if self._undecodable > 1:
            problems.append(Problem(str(self._path), f"has {self._undecodable:,} lines that are not UTF-8"))
        if self._unlisted:
            problems.append(Problem(str(self._path), f"and {self._unlisted:,} more problems"))
        if problems:
            raise UserError(problems)


@dataclass(frozen=True)
class LineShape:
    """What a file's lines should be, in words, and how long one may be."""

    file: str  # a text file of …
    line: str
    longest_bytes: int


def numbered_lines(path: Path, shape: LineShape, problems: FileProblems) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file without their ends, numbered from 1; a byte order mark is passed over.

    Ends early, with one problem, where the file is no text or cannot be read. Bytes that are not UTF-8 become
    replacement characters and a problem.
    """
    for first, lines in numbered_blocks(path, shape, problems):
        yield from enumerate(lines, start=first)


def numbered_blocks(path: Path, shape: LineShape, problems: FileProblems) -> Iterator[tuple[int, list[str]]]:
    """The same in blocks of lines, each with the number of its first."""
    first = 1
    try:
        with path.open("rb") as handle:
            while raw := handle.read(BLOCK_BYTES):
                raw += b"" if raw.endswith(b"\n") else handle.readline(shape.longest_bytes + 1)
                block = _Block(path, first, raw, shape, problems)
                lines = block.lines()
                if lines:
                    yield first, lines
                if block.unreadable:
                    return
                first += len(lines)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problems.note(0, f"cannot be read: {reason}", "check the path and its rights", path)


class _Block:
    """Some whole lines of a file, as bytes."""

    def __init__(self, path: Path, first: int, raw: bytes, shape: LineShape, problems: FileProblems):
        self._path, self._first, self._raw, self._shape, self._problems = path, first, raw, shape, problems
        self.unreadable = False  # known once `lines` was called

    def lines(self) -> list[str]:
        """All of them; those before the first that is no text."""
        raw = self._raw.removeprefix(BOM) if self._first == 1 else self._raw
        regular = b"\0" not in raw and len(raw) <= self._shape.longest_bytes
        if not regular or (self._first == 1 and raw.startswith(BOMS_OF_OTHER_ENCODINGS)):
            return list(self._one_by_one())
        try:
            lines = raw.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            return list(self._one_by_one())
        if raw.endswith(b"\n"):
            lines.pop()
        return [line.rstrip("\r") for line in lines] if b"\r" in raw else lines

    def _one_by_one(self) -> Iterator[str]:
        """The same for bytes with something wrong in them: each problem has its line."""
        handle = io.BytesIO(self._raw)
        lines = iter(partial(handle.readline, self._shape.longest_bytes + 1), b"")
        for number, raw in enumerate(lines, start=self._first):
            self.unreadable = _is_unreadable(self._path, number, raw, self._shape, self._problems)
            if self.unreadable:
                return
            yield _decoded(self._path, number, raw, self._problems)


def _is_unreadable(path: Path, number: int, raw: bytes, shape: LineShape, problems: FileProblems) -> bool:
    """Whether the file is no text at all: one problem, and the rest is not worth reading."""
    if number == 1 and raw.startswith(BOMS_OF_OTHER_ENCODINGS):
        problems.note(number, "is UTF-16, not UTF-8", "convert it to UTF-8", path)
    elif b"\0" in raw:
        problems.note(number, "is binary (a zero byte)", f"give a text file of {shape.file}", path)
    elif len(raw) > shape.longest_bytes:
        problems.note(number, f"line longer than {shape.longest_bytes:,} bytes", shape.line, path)
    else:
        return False
    return True


def _decoded(path: Path, number: int, raw: bytes, problems: FileProblems) -> str:
    if number == 1:
        raw = raw.removeprefix(BOM)
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        problems.note_undecodable(number, error.start + 1, path)
        return raw.decode("utf-8", errors="replace").rstrip("\r\n")


def nearest_declared(label: str, declared: tuple[str, ...]) -> str:
    """Advice on an undeclared label. It names declared ones alone: the file's own words stay in the file."""
    folded = {name.casefold(): name for name in declared}
    near = difflib.get_close_matches(label.casefold(), folded, n=1, cutoff=0.5)
    return f"nearest declared: {folded[near[0]]}" if near else f"declared: {', '.join(declared)}"
