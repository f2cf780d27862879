from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodist.config.recipe import CheckpointSection, ScratchSize
from biodist.plan.buckets import buckets_of
from biodist.plan.memory import activation_bytes, disk_plan, memory_plan
from biodist.plan.plan import MemoryPlan, Precision, Strategy
from biodist.plan.shape import scratch_shape

SHAPE = scratch_shape(ScratchSize(), vocab_size=4000, labels=9)
P = SHAPE.parameters


def of(strategy: Strategy, processes: int, precision: Precision = "fp32") -> MemoryPlan:
    return memory_plan(SHAPE, strategy, processes, precision, buckets_of(SHAPE, "cpu"), activations=0)


def test_ddp_keeps_all_on_every_process() -> None:
    alone, two = of("ddp", 1), of("ddp", 2)
    assert (alone.parameters, alone.gradients, alone.optimizer, alone.buffers) == (4 * P, 4 * P, 8 * P, 0)
    assert two.buffers == 4 * P
    assert alone.total == 16 * P


@pytest.mark.parametrize("processes", [2, 3, 64])
def test_each_stage_cuts_one_part_more(processes: int) -> None:
    one, two, three = (of(strategy, processes) for strategy in ("zero1", "zero2", "zero3"))
    part = 4 * -(-P // processes)
    assert one.optimizer == two.optimizer == three.optimizer == 3 * part
    assert (one.parameters, two.parameters, three.parameters) == (4 * P, 4 * P, part)
    assert one.gradients > two.gradients > three.gradients == part


def test_low_precision_copies_of_the_layers() -> None:
    for strategy in get_args(Strategy):
        more = of(strategy, 2, "bf16").buffers - of(strategy, 2).buffers
        assert more == (0 if strategy == "zero3" else 2 * SHAPE.layers * SHAPE.layer_parameters)


def test_activations_of_one_token() -> None:
    """2 layers of width 128 and 512 and 4 heads: worked out by hand from the formula in the module."""
    token = 4 * (4 * 128) + 4 * (6 * 128 + 2 * 512)
    pairs = 2 * 4 * 4
    assert activation_bytes(SHAPE, [1], "fp32", "none") == 3 * (token + pairs) + 4 * 3 * 128
    low = 4 * (4 * 128) + 2 * (6 * 128 + 2 * 512 + 2 * 128)
    assert activation_bytes(SHAPE, [1], "bf16", "none") == 3 * (low + pairs) + 4 * 3 * 128


@given(st.lists(st.integers(1, 512), min_size=1, max_size=40), st.sampled_from(get_args(Precision)))
def test_activations_grow_with_every_window_and_padding_costs(lengths: list[int], precision: Precision) -> None:
    unpadded = activation_bytes(SHAPE, lengths, precision, "none")
    padded = activation_bytes(SHAPE, lengths, precision, "batch")
    assert unpadded <= padded
    assert (unpadded == padded) == (len(set(lengths)) == 1)
    assert activation_bytes(SHAPE, [*lengths, 1], precision, "none") > unpadded


def test_disk() -> None:
    keeping = CheckpointSection(keep_last=2, keep_best=1, keep_every=0)
    disk = disk_plan(SHAPE, keeping, total_steps=1000, best=True)
    assert disk.checkpoint == 12 * P + 2**20
    assert disk.retained == 4 * disk.checkpoint  # two newest, the best, and the one being written
    assert disk.model == 4 * P + 32 * SHAPE.vocab_size
    assert disk_plan(SHAPE, keeping, 1000, best=False).retained == 3 * disk.checkpoint
    every = CheckpointSection(keep_last=2, keep_best=1, keep_every=300)
    assert disk_plan(SHAPE, every, 1000, best=True).retained == 7 * disk.checkpoint
