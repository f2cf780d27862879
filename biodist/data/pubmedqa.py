"""PubMedQA's JSON: one object, from a PubMed id to question, contexts, decision and more.

The question is the text, the contexts joined by one blank the second. LONG_ANSWER gives the decision away and is
never fed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

from biodist.data.rows import RepeatedKey, Row, unrepeated
from biodist.data.text_file import FileProblems, LineShape, numbered_lines

CONTEXTS, ANSWER = "CONTEXTS", "LONG_ANSWER"
DO = "give PubMedQA's file: one object from PubMed ids to samples"
SHAPE = LineShape("PubMedQA's JSON", "cut it into lines", 1 << 31)
BLANK = re.compile(r"[ \t\n\r]*")


def pubmedqa_rows(path: Path, problems: FileProblems) -> Iterator[Row]:
    """The samples of a PubMedQA file, each by the line on which its id stands. The text is loaded whole."""
    text = "\n".join(line for _, line in numbered_lines(path, SHAPE, problems))
    if problems:
        return
    seen: set[str] = set()
    try:
        for line, key, value in _members(text):
            if key in seen:
                problems.note(line, "has an id that occurred before", "keep one")
            elif not isinstance(value, dict):
                problems.note(line, "is no object, or one with a key twice", DO)
            else:
                yield Row(line, _fed(value), key)
            seen.add(key)
    except JSONDecodeError as error:
        problems.note(error.lineno, f"is no JSON from column {error.colno} on", DO)
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets a thousand deep
        problems.note(0, "is no JSON that can be read", DO)


def _fed(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample without its answer, its contexts one text."""
    fed = {name: value for name, value in sample.items() if name != ANSWER}
    contexts = fed.get(CONTEXTS)
    if isinstance(contexts, list) and all(isinstance(part, str) for part in contexts):
        fed[CONTEXTS] = " ".join(contexts)
    return fed


def _members(text: str) -> Iterator[tuple[int, str, object]]:
    """Line, key and value of each member of the one object that a text is. Raises JSONDecodeError.

    `json` alone tells no lines, and keeps the last of two equal keys.
    """
    decoder = JSONDecoder(object_pairs_hook=_object)
    at, line, counted = _expect(text, 0, "{"), 1, 0
    is_first = True
    while True:
        at = _skip(text, at)
        if is_first and text.startswith("}", at):
            break
        line, counted = line + text.count("\n", counted, at), at
        key, end = decoder.raw_decode(text, at)
        if not isinstance(key, str):
            raise JSONDecodeError("no key", text, at)
        value, end = decoder.raw_decode(text, _skip(text, _expect(text, end, ":")))
        yield line, key, value
        at, is_first = _skip(text, end), False
        if text.startswith("}", at):
            break
        at = _expect(text, at, ",")
    end = _skip(text, at + 1)
    if end != len(text):
        raise JSONDecodeError("more than one object", text, end)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    try:
        return unrepeated(pairs)
    except RepeatedKey:  # raised, it would leave the decoder without a place to go on
        return None


def _skip(text: str, at: int) -> int:
    blank = BLANK.match(text, at)
    return blank.end() if blank else at


def _expect(text: str, at: int, mark: str) -> int:
    """The place behind a mark. Raises JSONDecodeError where it does not stand there."""
    at = _skip(text, at)
    if not text.startswith(mark, at):
        raise JSONDecodeError("no mark", text, at)
    return at + len(mark)
