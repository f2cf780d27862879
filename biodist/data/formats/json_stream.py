"""The members of one large JSON object, and the items of its lists, without holding the whole of it in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from biodist.data.rows import unrepeated

READ_CHARACTERS = 1 << 18
LARGEST_VALUE = 1 << 28  # characters of one value: a document
BLANKS = " \t\r\n"


class BrokenJson(ValueError):
    """The file is no JSON from this line on."""

    def __init__(self, line: int):
        super().__init__(f"no JSON from line {line} on")
        self.line = line


class JsonStream:
    """Reads JSON values one behind the other; ``line`` is where it stands."""

    def __init__(self, file: TextIO):
        self._file = file
        self._decoder = json.JSONDecoder(object_pairs_hook=unrepeated)
        self._buffer, self._at, self._ended = "", 0, False
        self._lines_before = 1

    @property
    def line(self) -> int:
        return self._lines_before + self._buffer.count("\n", 0, self._at)

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in BLANKS:
                    return self._buffer[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, character: str) -> None:
        """Passes over one character. Raises BrokenJson where another stands."""
        if self.peek() != character or not character:
            raise BrokenJson(self.line)
        self._at += 1

    def value(self) -> Any:
        """The next value, whole. Raises BrokenJson."""
        self.peek()
        tried = -1
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
                if end < len(self._buffer) or self._ended:  # a number may go on behind the buffer's end
                    self._at = end
                    return value
            except (ValueError, RecursionError) as error:
                if self._ended or isinstance(error, RecursionError) or len(self._buffer) - self._at > LARGEST_VALUE:
                    raise BrokenJson(self.line) from None
            # Twice as much each time: a long value is parsed a few times, not once a block.
            tried = max(READ_CHARACTERS, len(self._buffer) - self._at)
            self._more(tried)

    def members(self) -> Iterator[str]:
        """The keys of an object; the caller takes the value of each before the next. Raises BrokenJson."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise BrokenJson(self.line)
            self.take(":")
            yield key
            if self.peek() == "}":
                self.take("}")
                return
            self.take(",")

    def items(self) -> Iterator[tuple[int, Any]]:
        """The items of a list, each with its line. Raises BrokenJson."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            self.peek()
            line = self.line
            yield line, self.value()
            if self.peek() == "]":
                self.take("]")
                return
            self.take(",")

    def _more(self, characters: int = READ_CHARACTERS) -> bool:
        """Reads on, and forgets what has been taken; False at the end of the file."""
        read = self._file.read(characters)
        self._ended = self._ended or not read
        if read:
            self._lines_before += self._buffer.count("\n", 0, self._at)
            self._buffer, self._at = self._buffer[self._at :] + read, 0
        return bool(read)
