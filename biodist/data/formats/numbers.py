"""Numbers as files write them: nothing but digits is an offset, nothing outside 0 to 1 a score."""

from __future__ import annotations

import math
import re

OFFSET = re.compile(r"[0-9]{1,15}")


def number_of(written: object) -> int | None:
    """An offset from a file: a whole number from 0, as digits or as JSON has it; None for all else."""
    if isinstance(written, str):
        return int(written) if OFFSET.fullmatch(written) else None
    return written if isinstance(written, int) and not isinstance(written, bool) and 0 <= written < 10**15 else None


def score_of(written: object) -> float | None:
    """A score between 0 and 1; None for all else."""
    try:
        score = float(written) if isinstance(written, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return score if 0 <= score <= 1 else None
