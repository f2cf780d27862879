"""Windows of texts and pairs, which are labelled as a whole.

Texts are tokenised whole and framed by the tokenizer's own template: ids and token types are those of Hugging Face's
``tokenizer(text, pair, truncation=…)``. A pair is one window; a text that is too long becomes several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from biodist.data.windows import IGNORED, NO_WORD, Window, cut, template
from biodist.errors import Problem, UserError

Truncate = Literal["longest", "first", "second"]
STRATEGIES = {"longest": "longest_first", "first": "only_first", "second": "only_second"}


@dataclass(frozen=True)
class Framed:
    """The windows of one sample; ``truncated`` where a part of it is in none."""

    windows: list[Window]
    truncated: bool


class NothingLeft(Exception):
    """The side of a pair that is to be cut is too short: nothing of it would be left."""


class TextFrame:
    """How texts of one length limit become windows.

    ``max_length`` counts special tokens, ``stride`` is the most that two windows of a text share, ``max_windows`` the
    most that are kept of one. Raises UserError where the special tokens leave no room, or a pair's texts are told
    apart by other token types than 0 and 1.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        stride: int = 0,
        max_windows: int | None = None,
        truncate: Truncate = "longest",
    ):
        self._tokenizer = tokenizer
        self._max_length, self._stride, self._max_windows, self._truncate = max_length, stride, max_windows, truncate
        self._cutting = Tokenizer.from_str(tokenizer.to_str())
        self._cutting.enable_truncation(max_length, strategy=STRATEGIES[truncate])
        self._prefix, self._suffix = (np.array(ids, dtype=np.int32) for ids in template(tokenizer))
        self._room = max_length - len(self._prefix) - len(self._suffix)
        probe = tokenizer.encode("a", "a")
        if min(self._room, max_length - (len(probe) - 2)) < 1:
            raise UserError(Problem("data.max_length", "leaves no room beside the special tokens", "raise it"))
        if probe.type_ids != sorted(probe.type_ids) or not set(probe.type_ids) <= {0, 1}:
            what = "its tokenizer tells a pair's texts apart by other token types than 0, then 1"
            raise UserError(Problem("model.name", what, "take an encoder of BERT's or RoBERTa's kind"))

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> Iterator[Framed | NothingLeft]:
        """One window for each pair; NothingLeft, not raised, for one that ``truncate`` cannot cut to the length."""
        for pair, whole in zip(pairs, self._tokenizer.encode_batch(list(pairs)), strict=True):
            excess = len(whole) - self._max_length
            if excess <= 0:
                yield Framed([_pair_window(whole)], truncated=False)
            elif self._truncate != "longest" and whole.sequence_ids.count(self._side) <= excess:
                yield NothingLeft()
            else:
                yield Framed([_pair_window(self._cutting.encode(*pair))], truncated=True)

    @property
    def _side(self) -> int:
        return 0 if self._truncate == "first" else 1

    def texts(self, texts: Sequence[str]) -> Iterator[Framed]:
        """The windows of each text: one, or several that are cut between words."""
        for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False):
            ids = np.array(encoding.ids, dtype=np.int32)
            bounds = [(0, len(ids))] if len(ids) <= self._room else self._bounds(encoding)
            kept = bounds[: self._max_windows]
            windows = [self._text_window(ids[start:end], number == 0) for number, (start, end) in enumerate(kept)]
            yield Framed(windows, truncated=len(kept) < len(bounds))

    def _bounds(self, encoding: Encoding) -> list[tuple[int, int]]:
        """Where the windows of a text that is too long begin and end. A word longer than a window is cut as well."""
        sizes: list[int] = []
        for size in Counter(encoding.word_ids).values():  # a word's pieces stand together, and words in order
            sizes += [self._room] * (size // self._room) + ([size % self._room] if size % self._room else [])
        begins = [0, *accumulate(sizes)]
        return [(begins[span.start], begins[span.end]) for span in cut(sizes, self._room, self._stride)]

    def _text_window(self, ids: NDArray[np.int32], is_first: bool) -> Window:
        framed = np.concatenate((self._prefix, ids, self._suffix))
        return _window(framed, len(framed), is_first)


def _pair_window(encoding: Encoding) -> Window:
    types = encoding.type_ids
    second = types.index(1) if 1 in types else len(types)
    return _window(np.array(encoding.ids, dtype=np.int32), second, is_first=True)


def _window(ids: NDArray[np.int32], second: int, is_first: bool) -> Window:
    words = np.full(len(ids), NO_WORD, dtype=np.int32)
    words[:1] = 0 if is_first else NO_WORD  # the sample's one target; a text always has a special token in front
    return Window(ids, np.full(len(ids), IGNORED, dtype=np.int16), words, second)
