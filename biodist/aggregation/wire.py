"""The wire format of protocol buffers, as far as event files need it: where each field's bytes lie, and back.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field of a message; its contents are `data[start:end]`."""

    number: int
    wire: int
    start: int
    end: int


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of the message in `data[start:end]`, in order. Raises ValueError where it is none."""
    at, end = start, len(data) if end is None else end
    while at < end:
        key, at = varint(data, at, end)
        wire = key & 7
        if wire == VARINT:
            first = at
            _, at = varint(data, at, end)
        elif wire == BYTES:
            size, first = varint(data, at, end)
            at = first + size
        elif wire in (FIXED64, FIXED32):
            first, at = at, at + (8 if wire == FIXED64 else 4)
        else:
            raise ValueError(f"byte {at}: wire type {wire}")
        if at > end:
            raise ValueError(f"byte {first}: a field ends past its message")
        yield Field(key >> 3, wire, first, at)


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The unsigned number at `at`, and where it ends. Raises ValueError."""
    number = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise ValueError(f"byte {at}: a number without its end")


def signed(number: int) -> int:
    """An int64 out of its unsigned form."""
    return number - (1 << 64) if number >> 63 else number


def to_varint(number: int) -> bytes:
    """The bytes of a number; a negative one as int64 has it."""
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, contents: bytes) -> bytes:
    """A length-delimited field."""
    return to_varint(number << 3 | BYTES) + to_varint(len(contents)) + contents
