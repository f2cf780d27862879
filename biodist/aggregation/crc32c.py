"""CRC-32C (Castagnoli) of many records at once, with numpy.

A CRC is linear over GF(2): two messages of one length that differ in a few bytes have CRCs that differ by the sum
(xor) of what each differing byte adds, which depends on that byte and on its distance from the end alone. So of
records that differ from a known one in time, step and value, only those bytes are looked up.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # reflected
_MASK_DELTA = 0xA282EAD8  # of TFRecord: https://www.tensorflow.org/tutorials/load_data/tfrecord
_ONES = 0xFFFFFFFF
_ROW = 64  # bytes of a long message that are looked up together

Crcs = NDArray[np.uint32]
Bytes = NDArray[np.uint8]


def _byte_table() -> Crcs:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


_BYTE = _byte_table()
_BYTE_LIST: list[int] = _BYTE.tolist()


_tables = [_BYTE]  # by distance


def contribution(distance: int) -> Crcs:
    """What each value of a byte that `distance` bytes follow adds to the CRC: uint32[256]."""
    while len(_tables) <= distance:
        last = _tables[-1]
        _tables.append(_BYTE[last & 0xFF] ^ (last >> 8))
    return _tables[distance]


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of one message."""
    rows = len(data) // _ROW if len(data) > 4 * _ROW else 0
    crc = _ONES
    if rows:
        matrix = np.frombuffer(data, np.uint8, rows * _ROW).reshape(rows, _ROW)
        crcs = np.zeros(rows, np.uint32)
        for column in range(_ROW):
            crcs ^= contribution(_ROW - 1 - column)[matrix[:, column]]
        for one in crcs.tolist():
            crc = _over_a_row(crc) ^ one
    for byte in bytes(data[rows * _ROW :]):
        crc = _BYTE_LIST[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ _ONES


def _over_a_row(crc: int) -> int:
    """A CRC's state after a row of zeros: its four bytes stand at the row's head."""
    tables = _row_tables()
    return tables[0][crc & 0xFF] ^ tables[1][crc >> 8 & 0xFF] ^ tables[2][crc >> 16 & 0xFF] ^ tables[3][crc >> 24]


@lru_cache(maxsize=1)
def _row_tables() -> tuple[list[int], ...]:
    return tuple(contribution(_ROW - 1 - byte).tolist() for byte in range(4))


def masked(crc: int) -> int:
    """As a TFRecord stores it."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _ONES


def masked_all(crcs: Crcs) -> Crcs:
    """The same of many."""
    return np.asarray(((crcs >> 15) | (crcs << 17)) + np.uint32(_MASK_DELTA), np.uint32)


def added(varying: Bytes, tables: Crcs, firsts: NDArray[np.intp]) -> Crcs:
    """What the varying bytes of rows add to the CRCs of their messages: uint32[rows, messages].

    `varying` is uint8[rows, bytes]; `tables` the `contribution` of each of these bytes, one after another; `firsts`
    the first byte of each message among them.
    """
    index = varying.astype(np.intp)
    index += np.arange(0, 256 * index.shape[1], 256)
    return np.bitwise_xor.reduceat(tables.take(index), firsts, axis=1)
