"""From mentions that overlap or have gaps to one layer, as training needs it; nothing is left out uncounted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from biodist.data.records import Mention


@dataclass(frozen=True)
class Layer:
    """One layer of mentions, by place. ``stretched`` discontinuous ones became the span from their first to their last
    character; ``dropped_overlapping`` and ``dropped_discontinuous`` were left out."""

    mentions: tuple[Mention, ...]
    stretched: int
    dropped_overlapping: int
    dropped_discontinuous: int


def overlapping(mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions that share a character with one before them (by place)."""
    reached = 0
    pieces = sorted((start, end, number) for number, each in enumerate(mentions) for start, end in each.pieces)
    guilty: set[int] = set()
    for start, end, number in pieces:
        if start < reached:
            guilty.add(number)
        reached = max(reached, end)
    return [mentions[number] for number in sorted(guilty)]


def one_layer(mentions: Sequence[Mention], flatten_overlaps: bool = True, flatten_gaps: bool = True) -> Layer:
    """Of overlapping mentions the longest, then the first, stays. A discontinuous one is stretched over its gaps, or
    dropped where that overlaps one that stays.

    With one of the two switched off such mentions are left as they are.
    """
    whole = [each for each in mentions if len(each.pieces) == 1]
    gapped = [each for each in mentions if len(each.pieces) > 1]
    kept = _placed([], whole) if flatten_overlaps else whole
    dropped_overlapping = len(whole) - len(kept)
    stretched = dropped_discontinuous = 0
    if flatten_gaps:
        spans = [Mention(((each.start, each.end),), each.type, each.score) for each in gapped]
        together = _placed(kept, spans)
        stretched = len(together) - len(kept)
        dropped_discontinuous = len(gapped) - stretched
        kept = together
    else:
        kept = [*kept, *gapped]
    layer = tuple(sorted(kept, key=lambda each: (each.pieces, each.type)))
    return Layer(layer, stretched, dropped_overlapping, dropped_discontinuous)


def _placed(standing: Sequence[Mention], more: Sequence[Mention]) -> list[Mention]:
    """Those that stand, and of the others each that overlaps none taken before it; the longest is taken first."""
    taken = sorted(standing, key=lambda each: each.start)
    starts = [each.start for each in taken]
    for each in sorted(more, key=lambda each: (each.start - each.end, each.start, each.type)):
        at = bisect_right(starts, each.start)
        free = (at == 0 or taken[at - 1].end <= each.start) and (at == len(taken) or each.end <= taken[at].start)
        if free:
            taken.insert(at, each)
            starts.insert(at, each.start)
    return taken
