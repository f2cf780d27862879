"""From words to what the model is fed: word pieces, cut into windows where a sample is too long.

Windows are cut between words and overlap. Each word has one owner among the windows that hold it: there its first
piece carries the label in training and gives the prediction; everywhere else the word is context.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

IGNORED = -100  # the label of a position that counts in no loss
NO_WORD = -1
MOST_KNOWN = 1 << 18  # words kept with their pieces: some 80 MB


@dataclass(frozen=True, eq=False)
class Window:
    """What one forward pass sees of a sample; three arrays of one length.

    ``labels`` has -100, and ``words`` -1, wherever the position is not the first piece of a word that this window owns.
    So ``words[words >= 0]`` are the words predicted here, in order, and ``labels`` at these places their labels.

    Texts and pairs are labelled as a whole: ``labels`` is -100 everywhere, and ``words`` -1 but for a 0 at the first
    position of a sample's first window. ``second`` is the first position whose token type is 1 (those behind it have
    it too); the window's length where there is none.
    """

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int16]
    words: NDArray[np.int32]
    second: int

    @property
    def owned(self) -> NDArray[np.int32]:
        """The numbers of the words that this window owns, in order."""
        return self.words[self.words >= 0]


@dataclass(frozen=True)
class Span:
    """Words ``start`` to ``end`` (exclusive) lie in a window; of them it owns ``owned_start`` to ``owned_end``."""

    start: int
    end: int
    owned_start: int
    owned_end: int


class WordPieces:
    """Piece ids of words, each word tokenised once however often it occurs.

    Words are pre-split input, so the pieces of one do not depend on its neighbours.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._known: dict[str, tuple[int, ...]] = {}
        self.prefix, self.suffix = template(tokenizer)
        self._unknown = _unknown_id(tokenizer)

    def learn(self, words: Iterable[str]) -> None:
        """Tokenises the words not met before, all in one call (which uses every core).

        Words of earlier calls are forgotten where there would be too many: memory does not grow with the corpus.
        """
        wanted = dict.fromkeys(words)
        fresh = [word for word in wanted if word not in self._known]
        if len(self._known) + len(fresh) > MOST_KNOWN:
            self._known.clear()
            fresh = list(wanted)
        encodings = self._tokenizer.encode_batch(
            [[word] for word in fresh], is_pretokenized=True, add_special_tokens=False
        )
        for word, encoding in zip(fresh, encodings, strict=True):
            # A word of which the normaliser leaves nothing (a control character) still has a label and a prediction.
            self._known[word] = tuple(encoding.ids) or (self._unknown,)

    def of(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """The pieces of each word."""
        try:
            return [self._known[word] for word in words]
        except KeyError:
            self.learn(words)
            return [self._known[word] for word in words]

    def __getitem__(self, word: str) -> tuple[int, ...]:
        if word not in self._known:
            self.learn([word])
        return self._known[word]


def cut(sizes: Sequence[int], room: int, stride: int) -> list[Span]:
    """Cuts words of ``sizes`` pieces into spans of at most ``room`` pieces that overlap by at most ``stride`` pieces.

    No word may be larger than ``room``. A word in several spans belongs to the one in which the poorer of its two sides
    has more pieces; where that is equal, to the earlier.
    """
    ends = [0, *accumulate(sizes)]  # pieces before word i
    bounds: list[tuple[int, int]] = []
    start, end = 0, bisect_right(ends, room) - 1
    while sizes:
        bounds.append((start, end))
        if end == len(sizes):
            break
        overlap = bisect_left(ends, ends[end] - stride)  # first word of an overlap no larger than the stride
        start = max(overlap, bisect_left(ends, ends[end + 1] - room))  # and the next word must fit as well
        end = bisect_right(ends, ends[start] + room) - 1
    return _own(ends, bounds)


def _own(ends: Sequence[int], bounds: Sequence[tuple[int, int]]) -> list[Span]:
    """Gives every word its owner. The owners never go back, so each span owns one run of words."""

    def context(word: int, place: int) -> int:
        start, end = bounds[place]
        return min(ends[word] - ends[start], ends[end] - ends[word + 1])

    firsts = [0] * (len(bounds) + 1)
    firsts[-1] = len(ends) - 1
    owner = 0
    for word in range(len(ends) - 1):
        while bounds[owner][1] <= word or (
            owner + 1 < len(bounds) and bounds[owner + 1][0] <= word and context(word, owner + 1) > context(word, owner)
        ):
            owner += 1
            firsts[owner] = word
    return [Span(*bound, firsts[place], firsts[place + 1]) for place, bound in enumerate(bounds)]


def make_windows(
    words: Sequence[str],
    labels: Sequence[int],
    pieces: WordPieces,
    max_length: int,
    stride: int,
    marker: tuple[int, ...] = (),
) -> list[Window]:
    """The windows of one sample, in order: at most ``max_length`` tokens each, special tokens included.

    Each begins with the pieces of ``marker``, behind the special tokens; they carry no label. A single word longer than
    a whole window is cut to it: its first piece, label and prediction stay.
    Raises ValueError where the special tokens and the marker alone fill ``max_length``.
    """
    opening = (*pieces.prefix, *marker)
    room = max_length - len(opening) - len(pieces.suffix)
    if room < 1:
        raise ValueError(f"max_length {max_length} leaves no room beside the special tokens")
    ids = pieces.of(words)
    sizes = [len(word) for word in ids]
    if max(sizes, default=0) > room:
        ids = [word[:room] for word in ids]
        sizes = [len(word) for word in ids]
    spans = cut(sizes, room, stride) if sum(sizes) > room else [Span(0, len(ids), 0, len(ids))] * bool(ids)
    return [_window(span, ids, labels, opening, pieces.suffix) for span in spans]


def _window(
    span: Span,
    ids: Sequence[tuple[int, ...]],
    labels: Sequence[int],
    opening: Sequence[int],
    suffix: Sequence[int],
) -> Window:
    inside = ids[span.start : span.end]
    tokens = [*opening, *chain.from_iterable(inside), *suffix]
    firsts = list(accumulate(map(len, inside), initial=len(opening)))  # of each word, and the end
    places = firsts[span.owned_start - span.start : span.owned_end - span.start]
    marked_labels = np.full(len(tokens), IGNORED, dtype=np.int16)
    marked_words = np.full(len(tokens), NO_WORD, dtype=np.int32)
    marked_labels[places] = labels[span.owned_start : span.owned_end]
    marked_words[places] = range(span.owned_start, span.owned_end)
    return Window(np.array(tokens, dtype=np.int32), marked_labels, marked_words, len(tokens))


def template(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that the tokenizer's own template puts before and after one sequence."""
    probe = ["a"]
    inner = tokenizer.encode(probe, is_pretokenized=True, add_special_tokens=False).ids
    framed = tokenizer.encode(probe, is_pretokenized=True).ids
    before = next(at for at in range(len(framed) - len(inner) + 1) if framed[at : at + len(inner)] == inner)
    return tuple(framed[:before]), tuple(framed[before + len(inner) :])


def _unknown_id(tokenizer: Tokenizer) -> int:
    known = (tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>"))
    named = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "")
    return next((number for number in (named, *known) if number is not None), 0)
