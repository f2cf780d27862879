"""What one event's bytes mean: where its time, its step and its scalars lie.

Field numbers are those of tensorboard/compat/proto/{event,summary,tensor}.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from biodist.aggregation.wire import BYTES, FIXED32, FIXED64, VARINT, Field, fields, signed, varint

_EVENT_TIME, _EVENT_STEP, _EVENT_SUMMARY, _EVENT_SESSION = 1, 2, 5, 7
_VALUE_TAG, _VALUE_SIMPLE, _VALUE_NODE, _VALUE_TENSOR, _VALUE_METADATA = 1, 2, 7, 8, 9
_TENSOR_TYPE, _TENSOR_SHAPE, _TENSOR_CONTENT = 1, 2, 4
_START = 1  # of SessionLog.SessionStatus
_NUMBERS = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # DataType -> numpy
_CODES = {"<f2": "<e", "<f4": "<f", "<f8": "<d", "<i4": "<i", "<i8": "<q"}  # numpy -> struct
_LISTS = {1: 5, 2: 6, 3: 7, 9: 10, 19: 13}  # DataType -> the field that lists its values
_HPARAMS = "hparams"


@dataclass(frozen=True)
class Tag:
    """A scalar's name. A tensor is a scalar only where the tag's first metadata says so."""

    name: str
    tensor: bool


@dataclass(frozen=True)
class Place:
    """Where a value's bytes begin in the event, and how numpy calls their type."""

    at: int
    kind: str


@dataclass(frozen=True)
class ScalarShape:
    """A scalar of an event: where it is, or what it is where its bytes are of no fixed size."""

    tag: Tag
    place: Place | None
    constant: float = 0.0


@dataclass(frozen=True)
class RecordShape:
    """One event taken apart. `time_at`, `step_at`: None where the event leaves them out, as zeros."""

    time_at: int | None
    step_at: int | None
    step_end: int
    step: int
    scalars: tuple[ScalarShape, ...]
    plugins: tuple[tuple[str, str], ...]  # tag -> plugin, where the event says so
    starts: bool  # it is a session's START
    hparams: tuple[bytes, ...]  # contents of the HParams plugin

    @property
    def is_plain(self) -> bool:
        """Whether other events of these bytes mean the same but for time, step and values."""
        return bool(self.scalars) and not self.starts and not self.hparams

    def time(self, event: bytes) -> float:
        """UNIX seconds, of an event of this shape."""
        return 0.0 if self.time_at is None else float(struct.unpack_from("<d", event, self.time_at)[0])

    def values(self, event: bytes) -> Iterator[tuple[Tag, float]]:
        """Its scalars."""
        for scalar in self.scalars:
            place = scalar.place
            if place is None:
                yield scalar.tag, scalar.constant
            else:
                yield scalar.tag, float(struct.unpack_from(_CODES[place.kind], event, place.at)[0])


def take_apart(event: bytes) -> RecordShape:
    """The shape of a serialised event. Raises ValueError where it is none."""
    time_at = step_at = None
    step_end = step = 0
    scalars: list[ScalarShape] = []
    plugins: list[tuple[str, str]] = []
    hparams: list[bytes] = []
    starts = False
    for found in fields(event):
        if found.number == _EVENT_TIME and found.wire == FIXED64:
            time_at = found.start
        elif found.number == _EVENT_STEP and found.wire == VARINT:
            step_at, step_end = found.start, found.end
            step = signed(varint(event, found.start, found.end)[0])
        elif found.number == _EVENT_SESSION and found.wire == BYTES:
            starts = any(part.number == 1 and event[part.start] == _START for part in _inside(event, found))
        elif found.number == _EVENT_SUMMARY and found.wire == BYTES:
            for value in _inside(event, found):
                scalar, plugin, content = _value(event, value)
                scalars += [scalar] if scalar else []
                plugins += [plugin] if plugin else []
                hparams += [content] if content else []
    return RecordShape(time_at, step_at, step_end, step, tuple(scalars), tuple(plugins), starts, tuple(hparams))


def _inside(event: bytes, outer: Field) -> list[Field]:
    return list(fields(event, outer.start, outer.end))


def _value(event: bytes, value: Field) -> tuple[ScalarShape | None, tuple[str, str] | None, bytes]:
    """A value of a summary: the scalar it is, the plugin its metadata names, that plugin's data if it is HParams'."""
    tag = node = ""
    simple = tensor = metadata = None
    for part in _inside(event, value):
        if part.number == _VALUE_TAG:
            tag = _text(event, part)
        elif part.number == _VALUE_NODE:
            node = _text(event, part)
        elif part.number == _VALUE_SIMPLE and part.wire == FIXED32:
            simple = part
        elif part.number == _VALUE_TENSOR:
            tensor = part
        elif part.number == _VALUE_METADATA:
            metadata = part
    name = tag or node
    plugin, content = _plugin(event, metadata) if metadata else ("", b"")
    named = (name, plugin) if metadata else None
    if simple is not None:
        return ScalarShape(Tag(name, tensor=False), Place(simple.start, "<f4")), named, b""
    if plugin == _HPARAMS:
        return None, named, content
    return (_tensor(event, Tag(name, tensor=True), tensor) if tensor else None), named, b""


def _plugin(event: bytes, metadata: Field) -> tuple[str, bytes]:
    name, content = "", b""
    for part in _inside(event, metadata):
        if part.number == 1:
            for data in _inside(event, part):
                if data.number == 1:
                    name = _text(event, data)
                elif data.number == 2:
                    content = event[data.start : data.end]
    return name, content


def _tensor(event: bytes, tag: Tag, tensor: Field) -> ScalarShape | None:
    """The one number of a tensor without dimensions; None for any other."""
    parts = {part.number: part for part in _inside(event, tensor)}
    shape = parts.get(_TENSOR_SHAPE)
    kind_at = parts.get(_TENSOR_TYPE)
    if kind_at is None or (shape is not None and shape.end > shape.start):
        return None
    kind = event[kind_at.start]
    listed = parts.get(_LISTS.get(kind, -1))
    content = parts.get(_TENSOR_CONTENT)
    if kind not in _NUMBERS or (listed or content) is None:
        return None
    size = int(_NUMBERS[kind][2])
    whole = content if content is not None else listed if kind in (1, 2) else None
    if whole is not None:
        return ScalarShape(tag, Place(whole.start, _NUMBERS[kind])) if whole.end - whole.start == size else None
    assert listed is not None
    number, end = varint(event, listed.start, listed.end)
    if end != listed.end:
        return None
    value = struct.unpack("<e", struct.pack("<H", number & 0xFFFF))[0] if kind == 19 else signed(number)
    return ScalarShape(tag, None, float(value))


def _text(event: bytes, part: Field) -> str:
    return event[part.start : part.end].decode("utf-8", errors="replace")
