"""The tags of a sequence of words: the likeliest of those that make sense together.

Each word's own likeliest tag may continue a mention that nothing began (`O I-Species`), which no annotation has. Where
that happens, the sequence of the highest summed score is taken out of those in which every I- follows a B- or I- of its
type (Viterbi, IEEE Trans. Inf. Theory 13, 1967). Where it does not, the words' own tags are that sequence already.
Nothing is learnt for it, and a model is exported as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biodist.data.tags import parse_tag


class TagPaths:
    """Sequences over IOB2 ``tags``: O, and of one type or several both B- and I-."""

    def __init__(self, tags: Sequence[str]):
        parsed = [parse_tag(tag, "BI") for tag in tags]
        numbers = {tag: number for number, tag in enumerate(parsed)}
        within = [(numbers["B", tag[1]], number) for number, tag in enumerate(parsed) if tag and tag[0] == "I"]
        self._begin, self._inside = (np.array(each, np.intp) for each in zip(*within, strict=True))
        count = len(tags)
        self._follows = np.ones((count, count), np.bool_)  # [before, after]
        self._follows[:, self._inside] = False
        self._follows[self._begin, self._inside] = self._follows[self._inside, self._inside] = True

    def likeliest(self, scores: NDArray[np.float32], words: Sequence[NDArray[np.int32]]) -> NDArray[np.int16]:
        """One tag for each row of ``scores`` (words, tags), logits or log-probabilities.

        ``words``: the numbers of the words that each window owns, window after window as in ``scores``. One that does
        not hold its sentence's first word may begin with I-: what it continues lies in the window before.
        """
        tags: NDArray[np.int16] = scores.argmax(-1).astype(np.int16)
        ends = np.cumsum([len(each) for each in words])
        broken = [
            (end - len(own), end, own[0] == 0)
            for own, end in zip(words, ends.tolist(), strict=True)
            if len(own) and not self._holds(tags[end - len(own) : end], own[0] == 0)
        ]
        if broken:
            paths = self._best([scores[start:end] for start, end, _ in broken], [opens for _, _, opens in broken])
            for (start, end, _), path in zip(broken, paths, strict=True):
                tags[start:end] = path
        return tags

    def _holds(self, tags: NDArray[np.int16], opens: np.bool_) -> bool:
        """Whether every I- has something to continue."""
        return bool(self._follows[tags[:-1], tags[1:]].all() and not (opens and tags[0] in self._inside))

    def _best(self, scores: Sequence[NDArray[np.float32]], opens: Sequence[np.bool_]) -> list[NDArray[np.intp]]:
        """The best path of each sequence; all go forward at once, a word at a time."""
        longest = max(map(len, scores))
        padded = np.zeros((longest, len(scores), scores[0].shape[1]))
        for row, each in enumerate(scores):
            padded[: len(each), row] = each
        padded[0][np.ix_(np.array(opens, np.bool_), self._inside)] = -np.inf
        sums = padded[0]
        reached, came_from = [sums], [np.zeros(sums.shape, np.intp)]
        for word in padded[1:]:
            source = np.broadcast_to(sums.argmax(-1)[:, None], sums.shape).copy()
            begun = sums[:, self._begin] >= sums[:, self._inside]
            source[:, self._inside] = np.where(begun, self._begin, self._inside)
            sums = word + np.take_along_axis(sums, source, -1)
            reached.append(sums)
            came_from.append(source)
        return [_back(row, len(each), reached, came_from) for row, each in enumerate(scores)]


def _back(
    row: int, length: int, reached: list[NDArray[np.float64]], came_from: list[NDArray[np.intp]]
) -> NDArray[np.intp]:
    """The path that ends best at a sequence's last word."""
    path = np.empty(length, np.intp)
    path[-1] = reached[length - 1][row].argmax()
    for at in range(length - 1, 0, -1):
        path[at - 1] = came_from[at][row, path[at]]
    return path
