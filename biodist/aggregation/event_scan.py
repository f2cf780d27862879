"""An event file read by column: TFRecord framing, checksums, scalars in both forms, restarts, damage.

Records that repeat, as training loops write them, are read by numpy a whole stretch at once (`RowPattern`); the few
others one by one. A record whose checksum is wrong is passed over and named; after a broken header the next record is
looked for; a torn last record is left for when it is whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from biodist.aggregation.crc32c import Bytes, crc32c, masked
from biodist.aggregation.record_shape import RecordShape, Tag, take_apart
from biodist.aggregation.row_pattern import FOOTER, HEADER, Block, RowPattern, joined

_HEAD = struct.Struct("<QI")
_LOOKED_AT = 160  # records in which a repetition is looked for
_SHORT = 64  # of them, in which a short one is
_FEWEST_ROWS = 4
_LONGEST_EVENT = 4096  # bytes; longer ones are no plain scalars
_MOST_SINGLES = 4096  # records read one by one before the next look for rows
_PATIENCE = 4  # looks for rows after each record, before more of them are read at once
_FEW = 8  # records that are sooner read one by one than together
_MANY = 4  # scalars of a record that is worth a pattern of its own
_MOST_SHAPES = 64  # of records of one length, read together
_MOST_PATTERNS = 512  # kept for other files

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Damage:
    """Bytes of a file that say nothing: `offset` from its start."""

    offset: int
    bytes: int
    what: str


@dataclass(frozen=True)
class Restart:
    """A session's START: what was written before with `step` or a later one is gone."""

    step: int


@dataclass(frozen=True)
class Scan:
    """What a stretch of an event file holds. `end`: where the next scan begins."""

    parts: tuple[Block | Restart, ...]
    plugins: Mapping[str, str]  # tag -> plugin of its first metadata here
    hparams: tuple[bytes, ...]
    damage: tuple[Damage, ...]
    records: int
    end: int


def scan(data: bytes, start: int = 0, final: bool = True) -> Scan:
    """Reads the records of an event file from `start` on. `final`: no more of the file is there now.

    Not final, what cannot be read at the end is left for a scan that sees more.
    """
    return _Scanner(data, start, final).run()


@lru_cache(maxsize=65536)
def _length_crc(length: int) -> int:
    return masked(crc32c(length.to_bytes(8, "little")))


# Runs of one program write the same rows. A pattern that does not fit another file does no harm: checksums decide.
_patterns: dict[tuple[object, ...], RowPattern] = {}


@dataclass
class _Scanner:
    data: bytes
    at: int
    final: bool
    parts: list[Block | Restart] = field(default_factory=list)
    plugins: dict[str, str] = field(default_factory=dict)
    hparams: list[bytes] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    records: int = 0
    frames: list[tuple[int, int]] = field(default_factory=list)  # (where, length) of the events ahead

    def run(self) -> Scan:
        self.bytes = np.frombuffer(self.data, np.uint8)
        looks = 0  # in vain, since rows were last found
        while self._look_ahead(_LOOKED_AT) or self._find_next():
            if self._repeats():
                looks = 0
                continue
            # A file's head is a few records: one by one, so that rows begin where the writer's steps do.
            self._one_by_one(min(2 ** max(0, looks - _PATIENCE), _MOST_SINGLES))
            looks += 1
        parts = tuple(self.parts)
        return Scan(parts, self.plugins, tuple(self.hparams), tuple(self.damage), self.records, self.at)

    def _look_ahead(self, count: int) -> bool:
        """Has the next `count` whole records in `frames`, or as many as follow one another; False without any."""
        frames, data, last = self.frames, self.data, len(self.data)
        at = sum(frames[-1]) + FOOTER if frames else self.at
        while len(frames) < count and at + HEADER <= last:
            length, crc = _HEAD.unpack_from(data, at)
            end = at + HEADER + length + FOOTER
            if end > last or crc != _length_crc(length):
                break
            frames.append((at + HEADER, length))
            at = end
        return bool(frames)

    def _find_next(self) -> bool:
        """Goes on at the next record after a broken header; False where there is none, or the last one is torn."""
        left = len(self.data) - self.at
        if left < HEADER:
            return False
        length, crc = _HEAD.unpack_from(self.data, self.at)
        if crc == _length_crc(length):
            return False
        begin = self.at
        if self.damage and self.damage[-1].offset + self.damage[-1].bytes == self.at:
            # A record was torn and another written after it: that one lies inside what the torn one claims.
            begin = self.damage[-1].offset
        found = _next_header(self.data, begin + 1)
        if found is None:
            if self.final:
                self.damage.append(Damage(self.at, left, "no record begins here, and none follows"))
            return False
        if begin < self.at:
            self.damage.pop()
        self.damage.append(Damage(begin, found - begin, "no whole record begins here"))
        self.at = found
        return True

    def _repeats(self) -> bool:
        """Reads rows that repeat from here on; False where nothing does."""
        if not self.frames:
            return False
        # First as rows did that began with a record of this length; then as what lies ahead looks.
        first = ("rows", self.frames[0][1])
        known = _patterns.get(first)
        if known is not None and self._read_rows(known):
            return True
        count, signs = self._period()
        if not count or max(length for _, length in self.frames[:count]) > _LONGEST_EVENT:
            return False
        size = sum(self.frames[count - 1]) + FOOTER - self.at
        pattern = _patterns.get((size, *signs))
        if pattern is None or not self._read_rows(pattern):
            pattern = self._pattern(self.frames[:count], size)
            if pattern is None or not self._read_rows(pattern):
                return False
        self._keep((size, *signs), pattern)
        self._keep(first, pattern)
        return True

    def _keep(self, sign: tuple[object, ...], pattern: RowPattern) -> None:
        if len(_patterns) >= _MOST_PATTERNS:
            _patterns.clear()
        _patterns[sign] = pattern

    def _period(self) -> tuple[int, tuple[object, ...]]:
        """How many records make a row, if they repeat at all, and what tells rows apart.

        A guess, which the checksums then prove or not.
        """
        data, frames = self.data, self.frames
        # Behind time and step and before the value lies the tag, as most writers write an event of one scalar.
        tags = [data[where + 16 : where + length - 4] for where, length in frames]
        for signs in (tags[:_SHORT], tags, [length for _, length in frames]):
            for count in range(1, len(signs) // _FEWEST_ROWS + 1):
                wanted = _FEWEST_ROWS * count
                if signs[: wanted - count] == signs[count:wanted]:
                    return count, tuple(signs[:count])
        return 0, ()

    def _pattern(self, frames: list[tuple[int, int]], size: int) -> RowPattern | None:
        shapes = []
        for where, length in frames:
            shape = _shape(self.data[where : where + length])
            if shape is None or not shape.is_plain:
                return None
            shapes.append((where - self.at, shape))
        return RowPattern(self.data[self.at : self.at + size], shapes)

    def _read_rows(self, pattern: RowPattern) -> bool:
        """Reads the rows that are of this pattern; False, and nothing read, for fewer than some."""
        size = pattern.size
        rows = (len(self.data) - self.at) // size
        if rows < _FEWEST_ROWS:
            return False
        block = pattern.read_ahead(self.bytes[self.at : self.at + rows * size].reshape(rows, size))
        good = len(block.steps)
        if good < _FEWEST_ROWS:
            return False
        self.parts += block.by_tag()
        self._note(pattern.plugins)
        self.records += good * pattern.records
        self.at += good * size
        self.frames = [frame for frame in self.frames if frame[0] > self.at]
        return True

    def _one_by_one(self, count: int) -> None:
        """Reads the next records; those of one shape together where they are many."""
        if self.frames and self._read_known():
            return
        self._look_ahead(count)
        frames, self.frames = self.frames[:count], self.frames[count:]
        self.at = sum(frames[-1]) + FOOTER
        self.records += len(frames)
        points = Loose()
        by_length: dict[int, list[int]] = {}
        for number, (_, length) in enumerate(frames):
            by_length.setdefault(length, []).append(number)
        for length, numbers in by_length.items():
            if len(numbers) >= _FEW and length <= _LONGEST_EVENT:
                self._same_length(points, frames, length, np.array(numbers))
            else:
                for number in numbers:
                    self._single(points, number, *frames[number])
        self.parts += points.in_order()

    def _read_known(self) -> bool:
        """Reads the next record by the pattern of an earlier one, where it has many scalars and came before."""
        where, length = self.frames[0]
        pattern = _patterns.get((length,))
        if pattern is None:
            return False
        end = where + length + FOOTER
        block, fits = pattern.read(self.bytes[self.at : end].reshape(1, -1))
        if not fits.all():
            return False
        self.parts += block.by_tag()
        self._note(pattern.plugins)
        self.records += 1
        self.at, self.frames = end, self.frames[1:]
        return True

    def _same_length(self, points: Loose, frames: list[tuple[int, int]], length: int, left: Numbers) -> None:
        """Reads the records `left` of `frames`, all of one length, shape by shape."""
        starts = np.array([frames[number][0] - HEADER for number in left])
        rows = self.bytes[starts[:, None] + np.arange(HEADER + length + FOOTER)]
        for _ in range(_MOST_SHAPES):
            if not len(left):
                return
            shape = self._single(points, int(left[0]), *frames[left[0]])
            first, rows, left = rows[0], rows[1:], left[1:]
            if shape is not None and shape.is_plain and len(left):
                block, fits = RowPattern(first.tobytes(), [(HEADER, shape)]).read(rows)
                points.add(block, left[fits])
                rows, left = rows[~fits], left[~fits]
        for number in left.tolist():
            self._single(points, number, *frames[number])

    def _single(self, points: Loose, number: int, where: int, length: int) -> RecordShape | None:
        """Reads one record, whatever it is; None where it is damaged."""
        event = self.data[where : where + length]
        stored = int.from_bytes(self.data[where + length : where + length + FOOTER], "little")
        shape = _shape(event) if masked(crc32c(event)) == stored else None
        if shape is None:
            self.damage.append(Damage(where - HEADER, HEADER + length + FOOTER, "the record is damaged"))
            return None
        self._note(shape.plugins)
        self.hparams += shape.hparams
        if shape.is_plain and len(shape.scalars) >= _MANY and length <= _LONGEST_EVENT:
            row = self.data[where - HEADER : where + length + FOOTER]
            self._keep((length,), RowPattern(row, [(HEADER, shape)]))
        for tag, value in shape.values(event):
            points.singles.append((number, tag, shape.step, value, shape.time(event)))
        if shape.starts:
            points.restarts.append((number, Restart(shape.step)))
        return shape

    def _note(self, plugins: Iterable[tuple[str, str]]) -> None:
        for tag, plugin in plugins:
            self.plugins.setdefault(tag, plugin)


class Loose:
    """Points that were not read in the order of the file, each with its record's number there."""

    def __init__(self) -> None:
        self.singles: list[tuple[int, Tag, int, float, float]] = []  # record, tag, step, value, time
        self.restarts: list[tuple[int, Restart]] = []
        self._columns: dict[Tag, list[tuple[Numbers, Block]]] = {}

    def add(self, block: Block, numbers: Numbers) -> None:
        """Points of a record a row."""
        for column, tag in enumerate(block.tags):
            one = slice(column, column + 1)
            part = Block((tag,), block.steps[:, one], block.values[:, one], block.times[:, one])
            self._columns.setdefault(tag, []).append((numbers, part))

    def in_order(self) -> list[Block | Restart]:
        """A block a tag, its points in the order of the file; restarts part what lies before from what follows."""
        self._add_singles()
        sorted_columns = [_sorted(parts) for parts in self._columns.values()]
        ordered: list[Block | Restart] = []
        first = 0
        for end, restart in sorted(self.restarts, key=lambda found: found[0]):
            ordered += [part for column in sorted_columns if len((part := _cut(column, first, end)).steps)]
            ordered.append(restart)
            first = end
        return ordered + [part for column in sorted_columns if len((part := _cut(column, first, None)).steps)]

    def _add_singles(self) -> None:
        by_tag: dict[Tag, list[tuple[int, int, float, float]]] = {}
        for number, tag, step, value, time in self.singles:
            by_tag.setdefault(tag, []).append((number, step, value, time))
        for tag, points in by_tag.items():
            numbers, steps, values, times = zip(*points, strict=True)
            block = Block(
                (tag,),
                np.array(steps, np.int64)[:, None],
                np.array(values, np.float64)[:, None],
                np.array(times, np.float64)[:, None],
            )
            self._columns.setdefault(tag, []).append((np.array(numbers), block))


def _sorted(parts: list[tuple[Numbers, Block]]) -> tuple[Numbers, Block]:
    numbers = np.concatenate([numbers for numbers, _ in parts])
    order = np.argsort(numbers, kind="stable")
    whole = joined([part for _, part in parts])
    return numbers[order], Block(whole.tags, whole.steps[order], whole.values[order], whole.times[order])


def _cut(column: tuple[Numbers, Block], first: int, end: int | None) -> Block:
    numbers, block = column
    begins = int(np.searchsorted(numbers, first))
    place = slice(begins, None if end is None else int(np.searchsorted(numbers, end)))
    return Block(block.tags, block.steps[place], block.values[place], block.times[place])


def _shape(event: bytes) -> RecordShape | None:
    try:
        return take_apart(event)
    except (ValueError, IndexError):
        return None


def _next_header(data: bytes, start: int) -> int | None:
    """The first place from `start` on where a record may begin: a length that fits, with its checksum."""
    whole = np.frombuffer(data, np.uint8)
    step = 1 << 20
    for first in range(start, len(data) - HEADER - FOOTER + 1, step):
        window: Bytes = whole[first : first + step + HEADER]
        # A record is shorter than 4 GB: four of its length's bytes are zero.
        short = (window[4:-8] | window[5:-7] | window[6:-6] | window[7:-5]) == 0
        for place in np.flatnonzero(short).tolist():
            length, crc = _HEAD.unpack_from(data, first + place)
            if first + place + HEADER + length + FOOTER <= len(data) and crc == _length_crc(length):
                return int(first + place)
    return None
