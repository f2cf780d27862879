"""Scalars as the bytes of an event file, many records at once, each with its checksums.

All values of a step stand in one record. Records of the same tags and of steps with as many bytes differ in a few
bytes only, so they are made as the rows of a matrix.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from biodist.aggregation.crc32c import Bytes, added, contribution, crc32c, masked, masked_all
from biodist.aggregation.row_pattern import FOOTER, HEADER
from biodist.aggregation.series import Series, Steps, Values
from biodist.aggregation.wire import field, to_varint

_TIME, _STEP, _VALUE = b"\x09", b"\x10", b"\x15"  # keys of Event.wall_time, Event.step, Summary.Value.simple_value
_FILE_VERSION, _SUMMARY, _SESSION = 3, 5, 7
_TAG = 1


def record(event: bytes) -> bytes:
    """An event as it stands in a file: https://www.tensorflow.org/tutorials/load_data/tfrecord."""
    length = struct.pack("<Q", len(event))
    return length + struct.pack("<I", masked(crc32c(length))) + event + struct.pack("<I", masked(crc32c(event)))


def opening(started: float) -> bytes:
    """The head of a file: the format's version, and a START at step 0, at UNIX seconds `started`.

    A reader that follows the folder drops what it had from an older file before it reads this one.
    """
    time = _TIME + struct.pack("<d", started)
    return record(time + field(_FILE_VERSION, b"brain.Event:2")) + record(time + field(_SESSION, b"\x08\x01"))


def summary_record(step: int, time: float, value: bytes) -> bytes:
    """A record of one serialised Summary.Value."""
    return record(_TIME + struct.pack("<d", time) + _STEP + to_varint(step) + field(_SUMMARY, field(1, value)))


def scalar_records(series: Mapping[str, Series]) -> bytes:
    """The records of all points, by step; values become 32-bit floats, and a step's time that of its latest value."""
    tags = [tag for tag in sorted(series) if len(series[tag])]
    if not tags:
        return b""
    table = _table([series[tag] for tag in tags])
    sizes = _varint_sizes(table.steps)
    kinds, kind_of = np.unique(sizes, return_inverse=True)
    if not table.there.all():
        signs = np.column_stack([np.packbits(table.there, axis=1), sizes])
        kinds, kind_of = np.unique(signs, axis=0, return_inverse=True)
    kind_of = kind_of.reshape(-1)
    rows = []
    for kind in range(len(kinds)):
        chosen = np.flatnonzero(kind_of == kind)
        names = tuple(np.array(tags)[table.there[chosen[0]]].tolist())
        rows.append(_rows(names, int(sizes[chosen[0]]), table.part(chosen)))
    return _in_order(rows, kind_of)


@dataclass(frozen=True)
class _Table:
    """Several series by step: `values` float32[steps, tags], `there` bool[steps, tags]."""

    steps: Steps
    times: Values
    values: NDArray[np.float32]
    there: NDArray[np.bool_]

    def part(self, rows: Steps) -> _Table:
        """Some steps, which all have the same tags, without those that they lack."""
        columns = self.there[rows[0]]
        values = self.values[rows][:, columns]
        return _Table(self.steps[rows], self.times[rows], values, self.there[rows][:, columns])


def _table(series: Sequence[Series]) -> _Table:
    steps = series[0].steps
    for one in series[1:]:
        steps = steps if np.array_equal(steps, one.steps) else np.union1d(steps, one.steps)
    values = np.zeros((len(steps), len(series)), np.float32)
    there = np.zeros(values.shape, np.bool_)
    times = np.full(len(steps), -np.inf)
    for column, one in enumerate(series):
        at = slice(None) if len(one) == len(steps) else np.searchsorted(steps, one.steps)
        with np.errstate(over="ignore"):  # beyond 32 bits is infinite there
            values[at, column] = one.values
        there[at, column] = True
        times[at] = np.maximum(times[at], one.times)
    return _Table(steps, times, values, there)


def _varint_sizes(steps: Steps) -> NDArray[np.uint8]:
    sizes = np.ones(len(steps), np.uint8)
    unsigned = steps.astype(np.uint64)
    for bits in range(7, 64, 7):
        sizes += (unsigned >> np.uint64(bits)) > 0
    return sizes


@dataclass(frozen=True)
class _Form:
    """A record of some tags with nothing filled in, and where that goes."""

    record: Bytes
    columns: NDArray[np.intp]  # time, step, values: all that varies
    tables: NDArray[np.uint32]
    crc: np.uint32


@lru_cache(maxsize=256)
def _form(tags: tuple[str, ...], size: int) -> _Form:
    blank = b"".join(field(1, field(_TAG, tag.encode()) + _VALUE + bytes(4)) for tag in tags)
    event = _TIME + bytes(8) + _STEP + bytes(size) + field(_SUMMARY, blank)
    whole = np.frombuffer(record(event), np.uint8)
    at, columns = (
        HEADER + len(event) - len(blank),
        [*range(HEADER + 1, HEADER + 9), *range(HEADER + 10, HEADER + 10 + size)],
    )
    for tag in tags:
        at += len(field(1, field(_TAG, tag.encode()) + _VALUE + bytes(4)))
        columns += range(at - 4, at)
    last = HEADER + len(event) - 1
    tables = np.concatenate([contribution(last - column) for column in columns])
    return _Form(whole, np.array(columns), tables, np.uint32(crc32c(event)))


def _rows(tags: tuple[str, ...], size: int, table: _Table) -> Bytes:
    """The records of these steps: uint8[steps, bytes]."""
    form = _form(tags, size)
    count = len(table.steps)
    varying = np.empty((count, len(form.columns)), np.uint8)
    varying[:, :8] = table.times.astype("<f8")[:, None].view(np.uint8)
    varying[:, 8 : 8 + size] = _varints(table.steps, size)
    varying[:, 8 + size :] = np.ascontiguousarray(table.values, "<f4").view(np.uint8)
    rows = np.empty((count, len(form.record)), np.uint8)
    rows[:] = form.record
    rows[:, form.columns] = varying
    crcs = masked_all(added(varying, form.tables, np.array([0]))[:, 0] ^ form.crc)
    rows[:, -FOOTER:] = crcs.astype("<u4")[:, None].view(np.uint8)
    return rows


def _varints(steps: Steps, size: int) -> Bytes:
    unsigned = steps.astype(np.uint64)
    digits = [(unsigned >> np.uint64(7 * place) & np.uint64(0x7F)).astype(np.uint8) for place in range(size)]
    return np.stack([digit | (0x80 if place < size - 1 else 0) for place, digit in enumerate(digits)], axis=1)


def _in_order(rows: Sequence[Bytes], kind_of: NDArray[np.intp]) -> bytes:
    """The rows of several kinds, one after another as `kind_of` has them."""
    if len(rows) == 1:
        return rows[0].tobytes()
    ends = np.flatnonzero(np.append(np.diff(kind_of) != 0, True)) + 1
    taken = [0] * len(rows)
    parts = []
    first = 0
    for end in ends.tolist():
        kind, count = int(kind_of[first]), end - first
        parts.append(rows[kind][taken[kind] : taken[kind] + count].tobytes())
        taken[kind] += count
        first = end
    return b"".join(parts)
