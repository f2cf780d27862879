"""CRC-32C: known values, TensorBoard's own, and any length."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as reference
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from biodist.aggregation.crc32c import added, contribution, crc32c, masked, masked_all


def test_known_values() -> None:
    # RFC 3720, B.4
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"") == 0


@pytest.mark.parametrize("size", [1, 7, 8, 63, 64, 65, 255, 256, 257, 511, 1000, 4097])
def test_any_length(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert crc32c(data) == reference(data)
    assert masked(crc32c(data)) == int.from_bytes(masked_crc32c(data).to_bytes(4, "little"), "little")
    assert masked_all(np.array([crc32c(data)], np.uint32))[0] == masked(crc32c(data))


def test_messages_that_differ_in_a_few_bytes() -> None:
    draw = random.Random(1)
    known = draw.randbytes(90)
    columns = [3, 4, 50, 89]
    rows = np.array([list(draw.randbytes(len(columns))) for _ in range(40)], np.uint8)
    blank = bytearray(known)
    for column in columns:
        blank[column] = 0
    tables = np.concatenate([contribution(len(known) - 1 - column) for column in columns])
    found = added(rows, tables, np.array([0]))[:, 0] ^ np.uint32(crc32c(bytes(blank)))
    for row, crc in zip(rows, found.tolist(), strict=True):
        for column, byte in zip(columns, row.tolist(), strict=True):
            blank[column] = byte
        assert crc == reference(bytes(blank))
