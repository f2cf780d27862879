"""The order in which samples are seen: a function of (seed, epoch, data) and of nothing else.

Data are the fingerprint, how many samples each corpus has, and how the recipe draws from them (`data.sampling`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biodist.config.recipe import Temperature

Numbers = NDArray[np.int64]
Sampling = Literal["proportional", "equal"] | Temperature

WEIGHT_DIGITS = 12  # of a corpus's weight: machines may differ in the last bits of a power


@lru_cache(maxsize=2)  # every step of an epoch cuts its batch from the same permutation
def epoch_order(seed: int, epoch: int, fingerprint: str, samples: int) -> Numbers:
    """The permutation of ``samples`` sample numbers for one epoch (epochs count from 1). Read-only."""
    return _permutation(f"order\0{seed}\0{epoch}\0{fingerprint}", samples)


@lru_cache(maxsize=2)
def mixed_order(seed: int, epoch: int, fingerprint: str, sizes: tuple[int, ...], draws: tuple[int, ...]) -> Numbers:
    """The sample numbers of one epoch (from 1) that takes ``draws`` samples of corpora that have ``sizes``. Read-only.

    The corpora's samples are numbered one corpus after the other. Each is gone through by permutations of its own,
    cycle after cycle; an epoch goes on where the one before stopped. So a sample of a corpus is drawn again only when
    all others have been. Where each corpus is drawn as often as it has samples, that is one permutation of all.
    """
    if draws == sizes:
        return epoch_order(seed, epoch, fingerprint, sum(sizes))
    firsts = np.cumsum([0, *sizes[:-1]])
    parts = [
        first + _drawn(f"corpus\0{seed}\0{number}\0{fingerprint}", size, (epoch - 1) * count, epoch * count)
        for number, (first, size, count) in enumerate(zip(firsts, sizes, draws, strict=True))
        if count
    ]
    order: Numbers = np.concatenate(parts)[epoch_order(seed, epoch, fingerprint, sum(draws))]
    order.flags.writeable = False
    return order


def _drawn(key: str, size: int, first: int, end: int) -> Numbers:
    """Places ``first`` to ``end`` (exclusive) of the endless sequence of permutations of ``size`` numbers."""
    cycles = range(first // size, -(-end // size))
    sequence = np.concatenate([_permutation(f"{key}\0{cycle}", size) for cycle in cycles])
    return sequence[first - cycles.start * size : end - cycles.start * size]


def _permutation(key: str, size: int) -> Numbers:
    """Sorts by raw Philox words: NumPy promises that stream for ever, but not what `permutation` makes of it."""
    digest = hashlib.sha256(key.encode()).digest()
    words = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(size)
    order: Numbers = np.argsort(words, kind="stable").astype(np.int64, copy=False)
    order.flags.writeable = False
    return order


def corpus_draws(sampling: Sampling, sizes: Sequence[int]) -> tuple[int, ...]:
    """How many samples an epoch takes of each corpus: as many together as there are samples.

    In proportion to the sizes, equally, or in proportion to size ^ (1 / temperature); what rounding leaves goes to
    the largest remainders, of equal ones to the earlier corpus.
    """
    total = sum(sizes)
    if sampling == "proportional" or not total:
        return tuple(sizes)
    power = 0.0 if isinstance(sampling, str) else 1 / sampling.temperature
    largest = max(sizes)  # the weights go by it: a size to a large power is more than a number can hold
    weights = [round((size / largest) ** power, WEIGHT_DIGITS) if size else 0.0 for size in sizes]
    quotas = [total * weight / sum(weights) for weight in weights]
    draws = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(sizes)), key=lambda n: (-round(quotas[n] - draws[n], WEIGHT_DIGITS // 2), n))
    for number in by_remainder[: total - sum(draws)]:
        draws[number] += 1
    return tuple(draws)


def steps_per_epoch(samples: int, global_batch: int) -> int:
    """Optimizer steps of one epoch; the last one may be smaller."""
    return -(-samples // global_batch)


def step_samples(
    seed: int,
    fingerprint: str,
    samples: int,
    global_batch: int,
    step: int,
    sizes: Sequence[int] = (),
    sampling: Sampling = "proportional",
) -> tuple[int, Numbers]:
    """The epoch (from 1) a step (from 1) falls in, and the numbers of the samples it trains on, in order.

    ``sizes`` are the samples of each corpus, ``samples`` together; without them all are one corpus's.
    Raises ValueError for a step below 1, where there are no samples, or where the sizes do not come to them.
    """
    if step < 1 or samples < 1 or global_batch < 1:
        raise ValueError(f"step {step}, samples {samples} and global_batch {global_batch} must be at least 1")
    corpora = tuple(sizes) or (samples,)
    if sum(corpora) != samples:
        raise ValueError(f"the corpora have {sum(corpora)} samples together, but there are {samples}")
    epoch, place = divmod(step - 1, steps_per_epoch(samples, global_batch))
    order = mixed_order(seed, epoch + 1, fingerprint, corpora, corpus_draws(sampling, corpora))
    return epoch + 1, order[place * global_batch : (place + 1) * global_batch]
