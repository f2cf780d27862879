"""Who computes what of one global batch: its windows over ranks and micro-batches.

By length, so that ranks finish together. Pure and deterministic: the same windows give the same arrangement in every
process.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A token costs the linear layers a constant and attention its sequence's length; in an encoder 500 wide the two are
# equal at about 3,000 tokens (6 widths).
EQUAL_COST_TOKENS = 3000


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """The windows of one forward pass of one rank, longest first. Weight 0.0: a pass that only keeps ranks in step."""

    windows: NDArray[np.int64]
    weight: float


def arrange(
    windows: ArrayLike, lengths: ArrayLike, world_size: int, micro_batch: int
) -> tuple[tuple[MicroBatch, ...], ...]:
    """Lays the windows of one global batch out as [rank][micro-batch].

    ``lengths[i]`` is the length in tokens of ``windows[i]``. Every window occurs once with weight 1.0; no micro-batch
    holds more than ``micro_batch`` windows; every rank has the same number of them, ceil(windows / (world_size *
    micro_batch)). A rank that lacks one gets a weight 0.0 pass over the batch's shortest window.
    Raises ValueError for an empty batch or sizes below 1.
    """
    numbers, sizes = np.asarray(windows, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
    if not numbers.size or numbers.shape != sizes.shape or world_size < 1 or micro_batch < 1:
        raise ValueError(
            f"{numbers.size} windows with {sizes.size} lengths cannot be laid out over {world_size} ranks "
            f"in micro-batches of {micro_batch}"
        )
    longest_first = np.lexsort((numbers, -sizes))
    numbers, tokens = numbers[longest_first], sizes[longest_first].tolist()
    passes = -(-len(tokens) // (world_size * micro_batch))
    filler = MicroBatch(numbers[-1:], 0.0)
    ranks = []
    for places in _spread(tokens, world_size, passes * micro_batch):
        cuts = _cut([tokens[place] for place in places], passes, micro_batch)
        batches = [MicroBatch(numbers[places[start:end]], 1.0) for start, end in cuts]
        ranks.append(tuple(batches + [filler] * (passes - len(batches))))
    return tuple(ranks)


def _spread(tokens: Sequence[int], world_size: int, room: int) -> list[list[int]]:
    """Longest first, each onto the least loaded rank that still has room: places in ``tokens``, by rank."""
    ranks: list[list[int]] = [[] for _ in range(world_size)]
    loads = [(0, rank) for rank in range(world_size)]
    for place, length in enumerate(tokens):
        load, rank = heapq.heappop(loads)
        ranks[rank].append(place)
        if len(ranks[rank]) < room:
            heapq.heappush(loads, (load + length * (EQUAL_COST_TOKENS + length), rank))
    return ranks


def _cut(tokens: Sequence[int], passes: int, micro_batch: int) -> list[tuple[int, int]]:
    """Cuts a rank's windows, sorted by length, into at most ``passes`` runs of about equal tokens: (start, end)."""
    cuts = []
    start, left = 0, sum(tokens)
    for later in range(min(passes, len(tokens)) - 1, -1, -1):
        least = max(1, len(tokens) - start - later * micro_batch)  # the later runs must hold the rest
        most = min(micro_batch, len(tokens) - start - later)  # and get one window each
        fair = left / (later + 1)
        end, taken = start + least, sum(tokens[start : start + least])
        while end < start + most and taken + tokens[end] / 2 <= fair:
            taken += tokens[end]
            end += 1
        cuts.append((start, end))
        start, left = end, left - taken
    return cuts
