"""Which split a name or a sentence pattern belongs to: each belongs to one split only."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def owner(text: str) -> Split:
    """The one split in which ``text`` (a name, or the pattern of a clause) may occur; case does not matter.

    A function of the text alone, so that no split has to know what another one drew: 70 % of all texts belong to
    train, 10 % to validation, 20 % to test.
    """
    point = hashlib.sha256(text.casefold().encode()).digest()[0] * 100 // 256
    return "train" if point < 70 else "validation" if point < 80 else "test"
