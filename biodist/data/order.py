"""The order in which samples are seen: a function of (seed, epoch, data) and of nothing else."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@lru_cache(maxsize=2)  # every step of an epoch cuts its batch from the same permutation
def epoch_order(seed: int, epoch: int, fingerprint: str, samples: int) -> Numbers:
    """The permutation of ``samples`` sample numbers for one epoch (epochs count from 1). Read-only.

    Sorts by raw Philox words: NumPy promises that stream for ever, but not what `permutation` makes of it.
    """
    digest = hashlib.sha256(f"order\0{seed}\0{epoch}\0{fingerprint}".encode()).digest()
    words = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(samples)
    order: Numbers = np.argsort(words, kind="stable").astype(np.int64, copy=False)
    order.flags.writeable = False
    return order


def steps_per_epoch(samples: int, global_batch: int) -> int:
    """Optimizer steps of one epoch; the last one may be smaller."""
    return -(-samples // global_batch)


def step_samples(seed: int, fingerprint: str, samples: int, global_batch: int, step: int) -> tuple[int, Numbers]:
    """The epoch (from 1) a step (from 1) falls in, and the numbers of the samples it trains on, in order.

    Raises ValueError for a step below 1 or where there are no samples.
    """
    if step < 1 or samples < 1 or global_batch < 1:
        raise ValueError(f"step {step}, samples {samples} and global_batch {global_batch} must be at least 1")
    epoch, place = divmod(step - 1, steps_per_epoch(samples, global_batch))
    order = epoch_order(seed, epoch + 1, fingerprint, samples)
    return epoch + 1, order[place * global_batch : (place + 1) * global_batch]
