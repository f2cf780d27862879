"""Rows of files that name their parts: JSON lines, and tables (TSV, CSV) with or without a header line.

A TSV is cut at tabs and knows no quotes: a quote is a character like any other. A CSV is cut at commas, and a cell may
stand in quotes (RFC 4180). Blank lines are passed over.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biodist.config.recipe import Columns
from biodist.data.text_file import FileProblems, LineShape, numbered_lines

LONGEST_LINE_BYTES = 1 << 24
JSON_LINES = LineShape("JSON lines", "one JSON object a line", LONGEST_LINE_BYTES)
TABLE = LineShape("a table", "one row a line", LONGEST_LINE_BYTES)
QUOTES = "a cell with quotes stands in quotes, and each quote in it is doubled"
Numbered = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it is written: its line (from 1), its values by name; ``key`` is its id in a file that has one."""

    line: int
    values: Mapping[str, Any]
    key: str = ""


class RepeatedKey(ValueError):
    """An object that has a key twice: which of the two was meant cannot be told."""


def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of a JSON text. Raises RepeatedKey."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RepeatedKey
    return found


def json_rows(path: Path, problems: FileProblems) -> Iterator[Row]:
    """The objects of a file with one JSON object a line."""
    decoder = json.JSONDecoder(object_pairs_hook=unrepeated)  # `json.loads` would make one a line
    for number, text in numbered_lines(path, JSON_LINES, problems):
        if not text.strip():
            continue
        try:
            value = decoder.decode(text)
        except RepeatedKey:
            problems.note(number, "has a key twice in one object", "keep one")
        except json.JSONDecodeError as error:
            problems.note(number, f"is no JSON from column {error.colno} on", "write one JSON object a line")
        except (ValueError, RecursionError):  # a number of thousands of digits, brackets a thousand deep
            problems.note(number, "is no JSON that can be read", "write one JSON object a line")
        else:
            if isinstance(value, dict):
                yield Row(number, value)
            else:
                problems.note(number, "is JSON, but no object", "write one JSON object a line")


def table_rows(path: Path, format: str, columns: Columns, problems: FileProblems) -> Iterator[Row]:
    """The rows of a table. Ends early, with a problem, where a column that is read is not there.

    Columns named by position: the first line is a row, and names are positions from 1. Otherwise it is the header.
    """
    lines = numbered_lines(path, TABLE, problems)
    rows = _csv_rows(lines, problems) if format == "csv" else _tsv_rows(lines)
    header: list[str] | None = None
    for number, cells in rows:
        if header is None:
            header = [str(place) for place in range(1, len(cells) + 1)] if columns.by_position else cells
            if not _has_columns(number, header, columns, problems):
                return
            if not columns.by_position:
                continue
        if len(cells) != len(header):
            quotes = "" if format == "csv" else "; a tsv has no quotes, and no tab in a cell"
            what = f"has {len(cells)} columns where the file began with {len(header)}"
            problems.note(number, what, "give each row the same" + quotes)
        else:
            yield Row(number, dict(zip(header, cells, strict=True)))


def _has_columns(number: int, header: list[str], columns: Columns, problems: FileProblems) -> bool:
    """Whether a table has each column that is read, once."""
    counts, sound = Counter(header), True
    for name in (columns.text, columns.second, columns.label, columns.id):
        if name is None or counts[name] == 1 or (name == columns.id and not counts[name]):
            continue
        sound = False
        if counts[name]:
            problems.note(number, f"has {counts[name]} columns called {name}", "keep one")
        elif columns.by_position:
            problems.note(number, f"has no column {name}: {len(header)} in all", "give another position")
        else:
            do = "name the columns in columns (--columns); a file without a header line takes positions, from 1"
            problems.note(number, f"has no column {name} among its {len(header)}", do)
    return sound


def _tsv_rows(lines: Iterator[tuple[int, str]]) -> Numbered:
    return ((number, text.split("\t")) for number, text in lines if text.strip())


class _CsvLines:
    """Lines as the csv module takes them, and the number of the last one taken."""

    def __init__(self, lines: Iterator[tuple[int, str]]):
        self._lines = lines
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for number, text in self._lines:
            self.number = number
            yield text + "\n"


def _csv_rows(lines: Iterator[tuple[int, str]], problems: FileProblems) -> Numbered:
    """The rows of a CSV by the line on which each begins; ends where a quote leaves no way to go on."""
    csv.field_size_limit(LONGEST_LINE_BYTES)  # the module's own is 131,072 characters, less than a long document
    taken = _CsvLines(lines)
    reader = csv.reader(taken, strict=True)
    while True:
        begins = taken.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            problems.note(begins, "has a quote that is not closed, or a quote inside a cell", QUOTES)
            return
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield begins, cells
