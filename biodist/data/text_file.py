"""A corpus file as numbered lines of text, and the problems met while it is read. No message quotes the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from biodist.errors import Problem, UserError

PROBLEMS_LISTED = 50  # a file; the rest is counted
BOM = b"\xef\xbb\xbf"
BOMS_OF_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(slots=True)
class _Undeclared:
    """A label outside the list: its first place, and on how many lines it stands."""

    line: int
    what: str
    do: str
    lines: int = 1


class FileProblems:
    """The problems of one file: the first 50 in full, the rest counted. False while there is none."""

    def __init__(self, path: Path):
        self._path = path
        self._noted: list[tuple[int, Problem]] = []
        self._undeclared: dict[str, _Undeclared] = {}
        self._undecodable = self._unlisted = 0

    def __bool__(self) -> bool:
        return bool(self._noted or self._undeclared)

    def note(self, line: int, what: str, do: str = "") -> None:
        """One problem; line 0 is the file as a whole."""
        if len(self._noted) >= PROBLEMS_LISTED:
            self._unlisted += 1
            return
        where = f"{self._path}:{line}" if line else str(self._path)
        self._noted.append((line, Problem(where, what, do)))

    def note_undeclared(self, label: str, line: int, what: str, do: str) -> None:
        """One problem a label, with its first line, not one for each of its thousand occurrences."""
        if label in self._undeclared:
            self._undeclared[label].lines += 1
        elif len(self._undeclared) < PROBLEMS_LISTED:
            self._undeclared[label] = _Undeclared(line, what, do)
        else:
            self._unlisted += 1

    def note_undecodable(self, line: int, byte: int) -> None:
        """The first line that is not UTF-8 is a problem of its own; the others are counted."""
        if not self._undecodable:
            self.note(line, f"is not UTF-8 from byte {byte} of the line on", "convert it to UTF-8")
        self._undecodable += 1

    def raise_any(self) -> None:
        """Raises UserError with every problem, in the order of the lines, if there is one."""
        for found in self._undeclared.values():
            more = f", here and on {found.lines - 1:,} more lines" if found.lines > 1 else ""
            self.note(found.line, found.what + more, found.do)
        problems = [problem for _, problem in sorted(self._noted, key=lambda noted: noted[0])]
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
    try:
        with path.open("rb") as handle:
            for number, raw in enumerate(iter(partial(handle.readline, shape.longest_bytes + 1), b""), start=1):
                if _is_unreadable(number, raw, shape, problems):
                    return
                yield number, _decoded(number, raw, problems)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problems.note(0, f"cannot be read: {reason}", "check the path and its rights")


def _is_unreadable(number: int, raw: bytes, shape: LineShape, problems: FileProblems) -> bool:
    """Whether the file is no text at all: one problem, and the rest is not worth reading."""
    if number == 1 and raw.startswith(BOMS_OF_OTHER_ENCODINGS):
        problems.note(number, "is UTF-16, not UTF-8", "convert it to UTF-8")
    elif b"\0" in raw:
        problems.note(number, "is binary (a zero byte)", f"give a text file of {shape.file}")
    elif len(raw) > shape.longest_bytes:
        problems.note(number, f"line longer than {shape.longest_bytes:,} bytes", shape.line)
    else:
        return False
    return True


def _decoded(number: int, raw: bytes, problems: FileProblems) -> str:
    if number == 1:
        raw = raw.removeprefix(BOM)
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        problems.note_undecodable(number, error.start + 1)
        return raw.decode("utf-8", errors="replace").rstrip("\r\n")


def nearest_declared(label: str, declared: tuple[str, ...]) -> str:
    """Advice on an undeclared label. It names declared ones alone: the file's own words stay in the file."""
    folded = {name.casefold(): name for name in declared}
    near = difflib.get_close_matches(label.casefold(), folded, n=1, cutoff=0.5)
    return f"nearest declared: {folded[near[0]]}" if near else f"declared: {', '.join(declared)}"
