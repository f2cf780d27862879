from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodist.config.recipe import ScratchSize
from biodist.plan.activations import Micro, activations_of
from biodist.plan.plan import Padding, Precision
from biodist.plan.shape import scratch_shape

SHAPE = scratch_shape(ScratchSize(), vocab_size=4000, labels=9)  # 2 layers of width 128 and 512, and 4 heads


def test_one_token_by_hand() -> None:
    """From the table in the module."""
    fp32 = activations_of(SHAPE, Micro((1,)), "fp32", "cpu")
    assert fp32.layer == 4 * (10 * 128 + 2 * 512) + 2 * 4 * 4
    assert fp32.entry == 4 * 128
    assert fp32.embedded == 3 * 4 * 128
    assert fp32.working == 4 * 512
    low = activations_of(SHAPE, Micro((1,)), "bf16", "cpu")
    assert low.layer == 4 * 5 * 128 + 2 * (7 * 128 + 2 * 512) + 2 * 4 * 4
    assert fp32.at_most(checkpointing=False) == 2 * fp32.layer + fp32.working + fp32.embedded
    assert fp32.at_most(checkpointing=True) == fp32.entry + fp32.layer + fp32.working + fp32.embedded
    assert fp32.at_last == fp32.layer + fp32.working + fp32.embedded


def test_where_first_tokens_alone_leave_the_last_layer() -> None:
    """It keeps its rows and weights; where there is more to it, the layer before it makes the fullest moment."""
    whole, narrow = (activations_of(SHAPE, Micro((1,), first_tokens=only), "fp32", "cpu") for only in (False, True))
    assert (whole.last, whole.last_working) == (whole.layer, whole.working)
    assert (narrow.layer, narrow.working, narrow.entry) == (whole.layer, whole.working, whole.entry)
    assert narrow.last == 4 * 3 * 128 + 2 * 4 * 4
    assert narrow.last_working == 4 * (2 * 4 + 3 * 128)
    assert narrow.at_most(checkpointing=False) == narrow.layer + narrow.last + narrow.last_working + narrow.embedded
    assert narrow.at_last == narrow.after(1, checkpointing=False) == narrow.layer + narrow.working + narrow.embedded
    wide = replace(narrow, working=10**6)
    assert wide.at_most(checkpointing=False) == wide.at_last == wide.layer + 10**6 + wide.embedded
    low = activations_of(SHAPE, Micro((1,), first_tokens=True), "bf16", "cpu")
    assert low.last == 4 * 3 * 128 + 2 * 3 * 128 + 2 * 4 * 4


def test_without_dropout_there_are_no_masks() -> None:
    with_masks = activations_of(SHAPE, Micro((10,)), "fp32", "cpu")
    without = activations_of(SHAPE, Micro((10,), dropout=False, attention_dropout=False), "fp32", "cpu")
    assert with_masks.layer - without.layer == 4 * (2 * 128 * 10 + 4 * 100)
    assert with_masks.embedded - without.embedded == 4 * 128 * 10


def test_long_sequences_work_most_in_their_attention() -> None:
    short, long = (activations_of(SHAPE, Micro((n,)), "fp32", "cpu") for n in (8, 512))
    assert short.working == 4 * 512 * 8
    assert long.working == 4 * (2 * 4 * 512 * 512 - 2 * 512 * 512 + 3 * 128 * 512)


def test_a_gpus_attention_keeps_no_weights() -> None:
    for precision in get_args(Precision):
        one, two = (activations_of(SHAPE, Micro(lengths), precision, "cuda") for lengths in ((128,) * 4, (512,)))
        assert one == two


@given(st.lists(st.integers(1, 512), min_size=1, max_size=40), st.sampled_from(get_args(Precision)))
def test_activations_grow_with_every_window_and_padding_costs(lengths: list[int], precision: Precision) -> None:
    def at_most(micro: Micro) -> int:
        return activations_of(SHAPE, micro, precision, "cpu").at_most(checkpointing=False)

    ragged, full = tuple(lengths), (max(lengths),) * len(lengths)
    assert at_most(Micro(ragged, "batch")) == at_most(Micro(full, "batch"))
    assert (at_most(Micro(ragged)) < at_most(Micro(full))) == (ragged != full)
    assert at_most(Micro((*ragged, 1))) > at_most(Micro(ragged))


def planned(size: ScratchSize, micro: Micro, precision: Precision, checkpointing: bool) -> int:
    """Activations and the gradients that are there with them, of a step without a strategy."""
    shape = scratch_shape(size, vocab_size=50, labels=3)
    activations = activations_of(shape, micro, precision, "cpu")
    gradients = 4 * (shape.layers - 1) * shape.layer_parameters
    copies = 0 if precision == "fp32" else 2 * shape.layers * shape.layer_parameters
    return copies + max(activations.at_most(checkpointing), activations.at_last + gradients)


SIZE = ScratchSize(layers=4, hidden_size=128, heads=4, intermediate_size=512)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("length", "count", "padding"), [(24, 80, "none"), (200, 8, "none"), (200, 8, "batch")])
def test_the_allocators_own_record_agrees(
    length: int, count: int, padding: Padding, precision: Precision, checkpointing: bool
) -> None:
    """The most that torch's allocator holds at one time in a real step, beside the weights: within 5 %."""
    micro = Micro((length,) * count, padding)
    measured = most_allocated(micro, precision, checkpointing)
    assert planned(SIZE, micro, precision, checkpointing) == pytest.approx(measured, rel=0.05)
    forgotten = planned(SIZE, replace(micro, dropout=False, attention_dropout=False), precision, checkpointing)
    assert forgotten != pytest.approx(measured, rel=0.05)  # masks that nobody counts are found out


def most_allocated(micro: Micro, precision: Precision, checkpointing: bool) -> int:
    """Bytes, of the second step: the first leaves what libraries keep."""
    import numpy as np
    import torch
    from torch.profiler import ProfilerActivity, profile
    from transformers import BertConfig, BertForTokenClassification

    from biodist.training.batch import collate, forward_kwargs
    from biodist.training.encoder import use_activation_checkpointing
    from biodist.training.unpadded import use_unpadded

    class Window:
        def __init__(self, length: int):
            self.input_ids = np.full(length, 7, np.int32)
            self.labels = np.ones(length, np.int16)

    config = BertConfig(
        vocab_size=50,
        hidden_size=SIZE.hidden_size,
        num_hidden_layers=SIZE.layers,
        num_attention_heads=SIZE.heads,
        intermediate_size=SIZE.intermediate_size,
        num_labels=3,
    )
    model = BertForTokenClassification(config).train()
    if micro.padding == "none":
        use_unpadded(model)
    if checkpointing:
        use_activation_checkpointing(model)
    windows = [Window(length) for length in micro.lengths]
    batch = collate(windows, range(len(windows)), padding=micro.padding, pad_id=0)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(**forward_kwargs(batch)).logits
        logits.float().sum().backward()

    step()
    model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step()
    held = most = 0
    for size in _allocations(record.profiler.kineto_results.experimental_event_tree()):
        held += size
        most = max(most, held)
    return most


def _allocations(events: list[Any]) -> list[int]:
    """Bytes taken, and below 0 given back, in the order of time."""
    found, left = [], list(events)
    while left:
        event = left.pop()
        left += event.children
        if str(event.tag).endswith("Allocation"):
            found.append((event.start_time_ns, event.extra_fields.alloc_size))
    return [size for _, size in sorted(found, key=lambda pair: pair[0])]
