"""One answer out of several passes: what a model says of a sentence when it is asked for its types in turn.

From the pass that asks for a view's types only mentions of these types count. Where mentions share a word, the one of
the highest score stays; of equal scores the one whose type comes first in the labels, then the earlier pass's, then the
one that begins first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from biodist.data.tags import OUTSIDE, iob2_mentions, parse_tag

SAID = np.dtype([("tag", np.int16), ("score", np.float32)])  # of a word: its tag's number and probability


def said_of(logits: Tensor, tags: NDArray[np.int16]) -> NDArray[np.void]:
    """As `SAID`: the tag of each word, and the probability that its logits (words, tags) give it."""
    said = np.empty(len(logits), SAID)
    said["tag"] = tags
    said["score"] = logits.softmax(-1).numpy()[np.arange(len(tags)), tags]
    return said


class Joining:
    """Joins the answers of the passes that ask for each of ``asked`` in turn."""

    def __init__(self, tags: Sequence[str], asked: Sequence[Sequence[str]]):
        self.passes = len(asked)
        self._tags = [parse_tag(tag, "BI") or OUTSIDE for tag in tags]
        self._numbers = {tag: number for number, tag in enumerate(self._tags)}
        outside = self._numbers[OUTSIDE]
        self._kept = [
            np.array([number if kind in view else outside for number, (_, kind) in enumerate(self._tags)])
            for view in asked
        ]

    def joined(self, answers: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
        """One answer of a sentence out of one a pass, all `SAID` by word.

        A mention begins with B-. A word outside has the lowest score that a pass gave it.
        """
        found = []
        for number, (kept, said) in enumerate(zip(self._kept, answers, strict=True)):
            for mention in iob2_mentions([self._tags[tag] for tag in kept[said["tag"]]]).entities:
                score = float(said["score"][mention.start : mention.end].mean())
                found.append((-score, self._numbers["B", mention.type], number, mention.start, mention.end))
        result = np.zeros(len(answers[0]), SAID)
        result["tag"] = self._numbers[OUTSIDE]
        result["score"] = np.min([said["score"] for said in answers], axis=0)
        free = np.ones(len(result), np.bool_)
        for _, begin, number, start, end in sorted(found):
            if free[start:end].all():
                free[start:end] = False
                result["score"][start:end] = answers[number]["score"][start:end]
                result["tag"][start:end] = self._numbers["I", self._tags[begin][1]]
                result["tag"][start] = begin
        return result
