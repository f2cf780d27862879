"""Steps, warm-up, and which windows may meet in one micro-batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from biodist.config.recipe import Recipe
from biodist.plan.index import SplitIndex
from biodist.plan.plan import BatchPlan, MicroBatchRule

CPU_TOKENS = 4096  # of a micro-batch: on a CPU larger ones gain nothing


def batch_plan(recipe: Recipe, train: SplitIndex, micro_batch: int, rule: MicroBatchRule) -> BatchPlan:
    """Every count of a run. Steps do not depend on the machine; the micro-batch does."""
    steps_per_epoch = math.ceil(train.samples / recipe.train.global_batch)
    total = recipe.train.max_steps or (recipe.train.epochs or 1) * steps_per_epoch
    every = recipe.evaluate.every
    return BatchPlan(
        global_batch=recipe.train.global_batch,
        micro_batch=micro_batch,
        micro_batch_rule=rule,
        steps_per_epoch=steps_per_epoch,
        total_steps=total,
        warmup_steps=math.ceil(total * recipe.train.warmup_ratio),  # as transformers' Trainer rounds it
        evaluate_every_steps=steps_per_epoch if every == "epoch" else every,
    )


def share_of_step(global_batch: int, train: SplitIndex, world_size: int) -> int:
    """Windows that one process has of a whole global batch, on average, rounded up."""
    samples = min(global_batch, train.samples)
    return max(1, math.ceil(math.ceil(samples * train.windows / train.samples) / world_size))


def token_budget(train: SplitIndex) -> int:
    """Windows of `CPU_TOKENS` tokens, on average."""
    return max(1, int(CPU_TOKENS * train.windows / max(1, train.tokens)))


def largest_micro_batch(train: SplitIndex, count: int, world_size: int) -> tuple[int, ...]:
    """Lengths of the largest micro-batch of ``count`` windows that can ever come to a process, longest first.

    The windows of a step are dealt out by length, so that each process gets every ``world_size``-th of them; at worst
    they are the longest of the corpus.
    """
    longest = [length for length, _ in zip(_descending(train), range(count * world_size), strict=False)]
    return tuple(longest[::world_size])


def _descending(train: SplitIndex) -> Iterator[int]:
    for length in sorted(train.lengths, reverse=True):
        yield from (length for _ in range(train.lengths[length]))
