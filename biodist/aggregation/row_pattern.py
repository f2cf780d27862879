"""Rows of event records that repeat but for time, step and values: proven by their checksums, read by column.

A row is one record or several in a row, as a training loop writes them step by step. Where all other bytes are those
of the pattern, a record's checksum is the pattern's and what the varying bytes add to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biodist.aggregation.crc32c import Bytes, added, contribution, crc32c, masked_all
from biodist.aggregation.record_shape import RecordShape, Tag

HEADER = 12  # bytes before an event: its length, that one's checksum
FOOTER = 4  # bytes after it: its checksum
_CHUNK = 1 << 14  # numbers looked up at once: few enough that the next step finds them in the cache


@dataclass(frozen=True)
class Block:
    """Scalars of rows of one pattern: `steps` int64[rows, tags], `values` and `times` float64[rows, tags]."""

    tags: tuple[Tag, ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    times: NDArray[np.float64]

    def by_tag(self) -> list[Block]:
        """Blocks in which no tag stands twice, so that each column is in the order of the file."""
        if len(set(self.tags)) == len(self.tags):
            return [self]
        blocks = []
        for tag in dict.fromkeys(self.tags):
            columns = [column for column, other in enumerate(self.tags) if other == tag]
            steps, values, times = self.steps[:, columns], self.values[:, columns], self.times[:, columns]
            blocks.append(Block((tag,), steps.reshape(-1, 1), values.reshape(-1, 1), times.reshape(-1, 1)))
        return blocks


class RowPattern:
    """The pattern of a row, made of a row that is known to be whole."""

    def __init__(self, row: bytes, records: Sequence[tuple[int, RecordShape]]):
        """`records`: where each event begins in `row`, and its shape."""
        self.size, self.records = len(row), len(records)
        self.plugins = tuple(named for _, shape in records for named in shape.plugins)
        self._row = np.frombuffer(row, np.uint8)
        self._footers, varying = self._columns(records)
        self._varying = np.concatenate(varying)
        self._constant = np.full(self.size, 0xFF, np.uint8)
        self._constant[self._varying] = self._constant[self._footers] = 0
        self._firsts = np.cumsum([0] + [len(columns) for columns in varying[:-1]])
        self._tables, self._base = self._lookups(records, varying)
        self._fields = _Fields.of(records)
        self.tags = self._fields.tags

    def _columns(self, records: Sequence[tuple[int, RecordShape]]) -> tuple[NDArray[np.intp], list[NDArray[np.intp]]]:
        starts = [start for start, _ in records]
        ends = [*(start - HEADER for start in starts[1:]), self.size]
        footers = np.concatenate([np.arange(end - FOOTER, end) for end in ends])
        self._ends = [end - FOOTER for end in ends]  # of each event
        return footers, [np.array(_varying(start, shape), np.intp) for start, shape in records]

    def _lookups(
        self, records: Sequence[tuple[int, RecordShape]], varying: list[NDArray[np.intp]]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """What each varying byte adds to its event's CRC, one table after another, and the CRCs without them."""
        tables: list[NDArray[np.uint32]] = []
        base = []
        for (start, _), columns, end in zip(records, varying, self._ends, strict=True):
            own = [contribution(int(end - 1 - column)) for column in columns]
            crc = np.uint32(crc32c(self._row[start:end].tobytes()))
            for table, column in zip(own, columns, strict=True):
                crc ^= table[self._row[column]]
            tables += own
            base.append(crc)
        return np.concatenate(tables), np.array(base, np.uint32)

    def read(self, rows: Bytes) -> tuple[Block, NDArray[np.bool_]]:
        """The scalars of those rows (uint8[rows, size]) that are of this pattern and whole, and which they are."""
        parts = [(varying[fit], fit) for varying, fit in self._chunks(rows)]
        varying = np.concatenate([varying for varying, _ in parts])
        return self._fields.read(varying), np.concatenate([fit for _, fit in parts])

    def read_ahead(self, rows: Bytes) -> Block:
        """The scalars of the rows before the first that is not of this pattern, or not whole."""
        parts = []
        for varying, fit in self._chunks(rows):
            good = len(fit) if fit.all() else int(fit.argmin())
            parts.append(varying[:good])
            if good < len(fit):
                break
        return self._fields.read(np.concatenate(parts))

    def _chunks(self, rows: Bytes) -> Iterator[tuple[Bytes, NDArray[np.bool_]]]:
        """The bytes that vary of some rows at a time, and which of these rows are whole and of this pattern."""
        step = max(1, _CHUNK // len(self._varying))
        for first in range(0, len(rows), step):
            chunk = rows[first : first + step]
            varying = chunk.take(self._varying, axis=1)
            yield varying, self._fits(chunk, varying)

    def _fits(self, rows: Bytes, varying: Bytes) -> NDArray[np.bool_]:
        crcs = masked_all(added(varying, self._tables, self._firsts) ^ self._base)
        good = crcs == rows.take(self._footers, axis=1).view("<u4")
        others = (rows ^ self._row) & self._constant
        digits = (varying[:, self._fields.digits] >= 0x80) == self._fields.goes_on
        if good.all() and not others.any() and digits.all():  # as nearly always, and much the faster question
            return np.ones(len(rows), np.bool_)
        return np.asarray(good.all(axis=1) & ~others.any(axis=1) & digits.all(axis=1))


@dataclass(frozen=True)
class _Fields:
    """Where time, step and values are among a row's varying bytes; -1: the event leaves it out.

    `digits` are the columns of the steps' bytes, `goes_on` whether another follows: a step of more or fewer bytes is
    another pattern.
    """

    tags: tuple[Tag, ...]
    owners: NDArray[np.intp]  # of each value: its record
    times: tuple[int, ...]  # of each record: the first of eight columns
    steps: tuple[tuple[int, int], ...]  # of each record: the first column, and how many
    values: tuple[tuple[int, str], ...]  # of each value: the first column, and numpy's name of its type
    constants: tuple[float, ...]  # of each value that has no columns
    digits: NDArray[np.intp]
    goes_on: NDArray[np.bool_]

    @classmethod
    def of(cls, records: Sequence[tuple[int, RecordShape]]) -> _Fields:
        at: dict[int, int] = {}  # column of the row -> of the varying bytes
        for start, shape in records:
            at |= {column: len(at) + place for place, column in enumerate(_varying(start, shape))}
        at[-1] = -1
        owned = [(number, start, one) for number, (start, shape) in enumerate(records) for one in shape.scalars]
        steps = tuple(
            (-1, 0) if shape.step_at is None else (at[start + shape.step_at], shape.step_end - shape.step_at)
            for start, shape in records
        )
        digits = [(first + place, place < size - 1) for first, size in steps for place in range(size)]
        return cls(
            tags=tuple(one.tag for _, _, one in owned),
            owners=np.array([number for number, _, _ in owned], np.intp),
            times=tuple(-1 if shape.time_at is None else at[start + shape.time_at] for start, shape in records),
            steps=steps,
            values=tuple(
                (at[start + one.place.at], one.place.kind) if one.place else (-1, "") for _, start, one in owned
            ),
            constants=tuple(one.constant for _, _, one in owned),
            digits=np.array([column for column, _ in digits], np.intp),
            goes_on=np.array([more for _, more in digits], np.bool_),
        )

    def read(self, varying: Bytes) -> Block:
        rows = len(varying)
        times, steps = np.zeros((rows, len(self.times))), np.zeros((rows, len(self.steps)), np.int64)
        values = np.empty((rows, len(self.tags)))
        values[:] = self.constants
        for (kind, size), numbers in _alike([(first, ("<f8", 8)) for first in self.times]):
            times[:, numbers] = _numbers(varying, [self.times[number] for number in numbers], kind, size)
        for (kind, size), numbers in _alike([(first, ("varint", size)) for first, size in self.steps]):
            steps[:, numbers] = _numbers(varying, [self.steps[number][0] for number in numbers], kind, size)
        for (kind, size), numbers in _alike([(first, (kind, int(kind[2:] or 0))) for first, kind in self.values]):
            values[:, numbers] = _numbers(varying, [self.values[number][0] for number in numbers], kind, size)
        return Block(self.tags, steps[:, self.owners], values, times[:, self.owners])


def _varying(start: int, shape: RecordShape) -> list[int]:
    """The columns of a row that differ between events of this shape, for the event that begins at `start`."""
    places: list[int] = []
    if shape.time_at is not None:
        places += range(shape.time_at, shape.time_at + 8)
    if shape.step_at is not None:
        places += range(shape.step_at, shape.step_end)
    for scalar in shape.scalars:
        if scalar.place is not None:
            places += range(scalar.place.at, scalar.place.at + int(scalar.place.kind[2]))
    return [start + place for place in places]


def _alike(fields: Sequence[tuple[int, tuple[str, int]]]) -> Iterator[tuple[tuple[str, int], list[int]]]:
    """The fields that are there (first column, form), those of one form together, by their numbers."""
    forms: dict[tuple[str, int], list[int]] = {}
    for number, (first, form) in enumerate(fields):
        if first >= 0:
            forms.setdefault(form, []).append(number)
    yield from forms.items()


def _numbers(varying: Bytes, firsts: Sequence[int], kind: str, size: int) -> NDArray[np.generic]:
    """Fields of `size` bytes from these columns on: [rows, fields]."""
    columns = (np.array(firsts)[:, None] + np.arange(size)).reshape(-1)
    fields = varying.take(columns, axis=1)
    if kind != "varint":
        return fields.view(kind)
    digits = (fields & np.uint8(0x7F)).reshape(len(varying), len(firsts), size)
    numbers = np.zeros(digits.shape[:2], np.uint64)
    for place in range(size):
        numbers |= digits[:, :, place].astype(np.uint64) << np.uint64(7 * place)
    return numbers.view(np.int64)


def joined(blocks: Sequence[Block]) -> Block:
    """Blocks of the same tags, one below the other."""
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        blocks[0].tags,
        np.concatenate([block.steps for block in blocks]),
        np.concatenate([block.values for block in blocks]),
        np.concatenate([block.times for block in blocks]),
    )
