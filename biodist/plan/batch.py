"""Steps, warm-up and the micro-batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from biodist.config.recipe import Recipe
from biodist.plan.index import SplitIndex
from biodist.plan.memory import activation_bytes
from biodist.plan.plan import BatchPlan, MachinePlan, MicroBatchRule, ModelShape, Padding, Precision

CPU_TOKENS = 4096  # of a micro-batch: on a CPU larger ones gain nothing
MEMORY_SHARE = 0.8  # of what weights, gradients, optimizer and buffers leave


def batch_plan(
    recipe: Recipe, train: SplitIndex, shape: ModelShape, machine: MachinePlan, precision: Precision, free: int
) -> BatchPlan:
    """Every count of a run. Steps do not depend on the machine; the micro-batch does.

    ``free`` is what is left of a process's memory, in bytes, once its weights, gradients, optimizer and buffers are in.
    """
    steps_per_epoch = math.ceil(train.samples / recipe.train.global_batch)
    total = recipe.train.max_steps or (recipe.train.epochs or 1) * steps_per_epoch
    every = recipe.evaluate.every
    micro_batch, rule = _micro_batch(recipe, train, shape, machine, precision, free)
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


def longest_windows(train: SplitIndex, count: int) -> list[int]:
    """Lengths of the ``count`` longest windows, longest first: the largest micro-batch that can ever come."""
    return [length for length, _ in zip(_descending(train), range(count), strict=False)]


def _micro_batch(
    recipe: Recipe, train: SplitIndex, shape: ModelShape, machine: MachinePlan, precision: Precision, free: int
) -> tuple[int, MicroBatchRule]:
    if recipe.train.micro_batch != "auto":
        return recipe.train.micro_batch, "recipe"
    share = share_of_step(recipe.train.global_batch, train, machine.world_size)
    fitting = _fitting(train, share, shape, precision, recipe.train.padding, int(MEMORY_SHARE * free))
    budget = max(1, int(CPU_TOKENS * train.windows / max(1, train.tokens))) if machine.device == "cpu" else share
    smallest = max(1, min(share, fitting, budget))
    return smallest, "step" if smallest == share else "memory" if smallest >= fitting else "tokens"


def _fitting(train: SplitIndex, most: int, shape: ModelShape, precision: Precision, padding: Padding, room: int) -> int:
    """The most windows, up to ``most``, whose activations fit into ``room`` bytes even if they are the longest."""
    longest = longest_windows(train, most)
    low, high = 0, len(longest)
    while low < high:
        middle = (low + high + 1) // 2
        if activation_bytes(shape, longest[:middle], precision, padding) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _descending(train: SplitIndex) -> Iterator[int]:
    for length in sorted(train.lengths, reverse=True):
        yield from (length for _ in range(train.lengths[length]))
