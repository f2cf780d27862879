"""Which ways of training fit where, at which micro-batch, and which of them is the cheapest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from biodist.config.recipe import Recipe
from biodist.plan.activations import Micro, activations_of
from biodist.plan.batch import largest_micro_batch, share_of_step, token_budget
from biodist.plan.buckets import Buckets, buckets_of
from biodist.plan.index import SplitIndex
from biodist.plan.memory import Site, memory_plan
from biodist.plan.plan import Choice, MachinePlan, MemoryPlan, MicroBatchRule, ModelShape, Precision, Setting
from biodist.plan.shape import leaves_by_first_tokens

FILL = {"cpu": 0.75, "cuda": 0.9}
"""How much of a process's memory a plan fills. The C library keeps a part of what was freed: with glibc 2.36 a process
grew by up to 1.4 times what it used. torch's allocator on a GPU loses less."""

CHEAPEST_FIRST = (
    Setting(strategy="ddp"),
    Setting(strategy="zero1"),
    Setting(strategy="zero2"),
    Setting(strategy="ddp", activation_checkpointing=True),
    Setting(strategy="zero1", activation_checkpointing=True),
    Setting(strategy="zero2", activation_checkpointing=True),
    Setting(strategy="zero3"),
    Setting(strategy="zero3", activation_checkpointing=True),
    Setting(strategy="zero2", offload="cpu"),
    Setting(strategy="zero2", offload="cpu", activation_checkpointing=True),
    Setting(strategy="zero3", offload="cpu"),
    Setting(strategy="zero3", offload="cpu", activation_checkpointing=True),
)
"""By the time they cost. ZeRO-1 and ZeRO-2 send half as much again as ddp; computing activations again is a third more
arithmetic, on every machine; ZeRO-3 gathers all weights twice in every micro-batch; offloading updates the weights on
the CPU and moves gradients and weights over the bus in every step. Where ZeRO-3 gathers nothing, it costs what ZeRO-2
does (`by_cost`)."""


def by_cost(where: MachinePlan) -> Sequence[Setting]:
    """All ways to train at a place, the cheapest first."""
    if where.device == "cuda" or where.nodes > 1:
        return CHEAPEST_FIRST
    offloaded = [way for way in CHEAPEST_FIRST if way.offload == "cpu"]
    others = [way for way in CHEAPEST_FIRST if way.offload == "none"]
    return sorted(others, key=lambda way: way.activation_checkpointing) + offloaded


@dataclass(frozen=True)
class Ground:
    """What all ways to train a recipe at one place have in common."""

    recipe: Recipe
    train: SplitIndex
    shape: ModelShape
    where: MachinePlan
    precision: Precision

    @property
    def capacity(self) -> int:
        """Bytes of one process."""
        return int(self.where.memory_gb_per_process * 10**9)

    @property
    def share(self) -> int:
        """Windows of one process and step."""
        return share_of_step(self.recipe.train.global_batch, self.train, self.where.world_size)

    @property
    def buckets(self) -> Buckets:
        return buckets_of(self.shape, self.where.device)

    def memory(self, setting: Setting, micro_batch: int) -> MemoryPlan:
        """Bytes of a process with micro-batches of so many windows."""
        model, where = self.recipe.model, self.where
        dropout = model.dropout != 0.0
        own = model.scratch.attention_dropout if model.init == "scratch" else None
        micro = Micro(
            lengths=largest_micro_batch(self.train, min(micro_batch, self.share), where.world_size),
            padding=self.recipe.train.padding,
            dropout=dropout,
            attention_dropout=dropout if own is None else own > 0.0,
            first_tokens=leaves_by_first_tokens(self.shape, self.recipe.task, self.recipe.train.padding),
        )
        passes = math.ceil(self.share / micro_batch)
        # Where samples have several windows, a step may have more of them than its share.
        once = passes == 1 and self.train.windows == self.train.samples
        background = self.recipe.checkpoint.asynchronous
        site = Site(where.device, where.world_size, passes, once, background, where.nodes)
        activations = activations_of(self.shape, micro, self.precision, where.device)
        return memory_plan(self.shape, setting, site, self.precision, self.buckets, activations)

    def micro_batch(self, setting: Setting) -> tuple[int, MicroBatchRule]:
        """Windows of a micro-batch, and what set them; 1 where nothing fits."""
        if self.recipe.train.micro_batch != "auto":
            return self.recipe.train.micro_batch, "recipe"
        most = min(self.share, token_budget(self.train)) if self.where.device == "cpu" else self.share
        if self._fills(setting, most):
            return most, "step" if most == self.share else "tokens"
        low, high = 1, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._fills(setting, middle) else (low, middle - 1)
        return low, "memory"

    def choice(self, setting: Setting) -> Choice:
        """A way to train it, with its memory, and whether it fits."""
        micro_batch, _ = self.micro_batch(setting)
        memory = self.memory(setting, micro_batch)
        return Choice(**setting.model_dump(), micro_batch=micro_batch, memory=memory, fits=self._has_room(memory))

    def choices(self) -> Iterator[Choice]:
        """Every way to train it here, the cheapest first."""
        yield from map(self.choice, by_cost(self.where))

    def _fills(self, setting: Setting, micro_batch: int) -> bool:
        return self._has_room(self.memory(setting, micro_batch))

    def _has_room(self, memory: MemoryPlan) -> bool:
        host = self.where.host_gb_per_process
        return memory.total <= FILL[self.where.device] * self.capacity and (
            host is None or memory.host <= FILL["cpu"] * host * 10**9
        )
