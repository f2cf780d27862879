from __future__ import annotations

from typing import get_args

import pytest

from biodist.config.recipe import CheckpointSection, ScratchSize
from biodist.plan.activations import Activations
from biodist.plan.buckets import ALIGNMENT, SLOT, buckets_of
from biodist.plan.memory import DEEPSPEED, LIBRARIES, RUNTIME, Site, communication, disk_plan, memory_plan
from biodist.plan.plan import MemoryPlan, Precision, Setting, Strategy
from biodist.plan.shape import scratch_shape

SHAPE = scratch_shape(ScratchSize(), vocab_size=4000, labels=9)
P = SHAPE.parameters
SMALL = Activations(layer=3, entry=1, working=2, embedded=5, layers=2, last=3, last_working=2)
ALONE, TWICE = Site("cpu", 1, passes=1, once=True), Site("cpu", 1, passes=2, once=False)


def of(
    strategy: Strategy,
    site: Site,
    precision: Precision = "fp32",
    activations: Activations = SMALL,
    offload: str = "none",
    again: bool = False,
) -> MemoryPlan:
    setting = Setting.model_validate({"strategy": strategy, "offload": offload, "activation_checkpointing": again})
    return memory_plan(SHAPE, setting, site, precision, buckets_of(SHAPE, site.device), activations)


def test_ddp_keeps_all_on_every_process() -> None:
    alone, two = of("ddp", ALONE), of("ddp", Site("cpu", 2, 1, True))
    assert (alone.parameters, alone.gradients, alone.optimizer) == (4 * P, 4 * P, 8 * P)
    assert (alone.buffers, alone.process) == (RUNTIME, LIBRARIES["cpu"])
    assert two.buffers - alone.buffers == 4 * P  # DDP's own buckets
    assert alone.total == 16 * P + RUNTIME + LIBRARIES["cpu"]


@pytest.mark.parametrize("processes", [2, 3, 64])
def test_each_stage_cuts_one_part_more(processes: int) -> None:
    site = Site("cpu", processes, 1, True)
    one, two, three = (of(strategy, site) for strategy in ("zero1", "zero2", "zero3"))
    part = 4 * -(-P // processes)
    assert one.optimizer == two.optimizer == three.optimizer == 3 * part
    assert (one.parameters, two.parameters, three.parameters) == (4 * P, 4 * P, part)
    assert (one.gradients, two.gradients, three.gradients) == (4 * P, part, part)
    assert all(plan.buffers >= RUNTIME + DEEPSPEED for plan in (one, two, three))


def test_gradients_come_as_activations_go() -> None:
    """In a step of one micro-batch the fullest moment has the activations or the gradients, in several it has both."""
    large = Activations(10 * P, P, P, P, layers=2, last=10 * P, last_working=P)
    beside = 12 * P + RUNTIME + LIBRARIES["cpu"]
    assert of("ddp", ALONE, activations=large).total == beside + 22 * P
    assert of("ddp", ALONE, activations=SMALL).total == beside + 4 * P
    assert of("ddp", TWICE, activations=large).total == beside + 4 * P + 22 * P


def test_activations_computed_again_leave_one_layer_and_the_gradients() -> None:
    """Near the end of the backward pass: one layer whole, and the gradients of the layers that are done."""
    large = Activations(10 * P, 8, P, P, layers=2, last=10 * P, last_working=P)
    beside = 12 * P + RUNTIME + LIBRARIES["cpu"]
    plan = of("ddp", ALONE, activations=large, again=True)
    assert plan.activations == 12 * P + 8  # the last layer, and the first one's input
    assert plan.total == beside + 12 * P + 4 * (SHAPE.layers - 1) * SHAPE.layer_parameters


def test_the_embeddings_gradient_is_whole_before_it_is_added() -> None:
    largest = 4 * SHAPE.largest_parameters
    assert of("ddp", TWICE).total - of("ddp", ALONE).total == largest
    three, twice = of("zero3", Site("cpu", 2, 1, True)), of("zero3", Site("cpu", 2, 2, False))
    assert three.total == twice.total  # its part of the gradients is always there
    assert three.late == largest  # shown to the other process as it is, while its weights lie where all read them
    assert of("zero3", Site("cpu", 4, 1, True, nodes=2)).late == 2 * largest  # gathered as well
    assert of("zero3", Site("cuda", 2, 1, True)).late == 3 * largest  # and a copy that is sent


@pytest.mark.parametrize("processes", [2, 3])
def test_weights_that_processes_share_count_once(processes: int) -> None:
    """Together as much as all weights, though each has all of them resident."""
    here, apart = (of("zero3", Site("cpu", processes, 1, True, nodes=nodes)) for nodes in (1, processes))
    assert here.parameters == apart.parameters == 4 * -(-P // processes)
    assert here.parameters + here.shared == 4 * P and apart.shared == 0
    assert here.resident - here.total == here.shared
    assert here.growth == here.total - here.process + here.shared
    assert of("zero3", ALONE).shared == of("zero2", Site("cpu", 2, 1, True)).shared == 0


def test_a_bucket_is_there_once_it_is_written_to() -> None:
    """On a CPU; a GPU's allocator has it from the start."""
    cpu, cuda = (of("zero2", Site(device, 2, 1, True)) for device in ("cpu", "cuda"))
    largest, bucket, part = 4 * SHAPE.largest_parameters, 4 * SHAPE.layer_parameters, 4 * -(-P // 2)
    assert cpu.late == part + 2 * largest + bucket + 4 * (-SHAPE.layer_parameters % ALIGNMENT)
    assert cuda.late == part + max(largest, SHAPE.layers * SHAPE.layer_parameters * 4)


def test_what_processes_show_each_other() -> None:
    """Two slots of shared memory a process, however many there are; between machines what all others send as well."""
    alone, two, many, apart = (
        of("zero1", Site("cpu", processes, 1, True, nodes=nodes))
        for processes, nodes in ((1, 1), (2, 1), (4, 1), (4, 2))
    )
    slot = 4 * SLOT
    assert many.buffers == two.buffers and apart.buffers - many.buffers == 3 * slot
    assert alone.buffers < two.buffers


def test_low_precision_copies_of_the_layers() -> None:
    site = Site("cpu", 2, 1, True)
    for strategy in get_args(Strategy):
        more = of(strategy, site, "bf16").buffers - of(strategy, site).buffers
        assert more == (0 if strategy == "zero3" else 2 * SHAPE.layers * SHAPE.layer_parameters)


@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_offloading_moves_the_optimizer_to_the_node(strategy: Strategy) -> None:
    part, largest = 4 * -(-P // 4), 4 * SHAPE.largest_parameters
    on_gpu, on_cpu = (Site(device, 4, 1, True) for device in ("cuda", "cpu"))
    before, after = of(strategy, on_gpu), of(strategy, on_gpu, offload="cpu")
    assert (after.optimizer, after.gradients, before.host) == (0, before.gradients - part, 0)
    assert after.host == (5 * part + largest if strategy == "zero2" else 4 * part)
    costs = of(strategy, on_cpu, offload="cpu").total - of(strategy, on_cpu).total
    assert costs == (2 * part + 2 * largest if strategy == "zero2" else part)  # on a CPU it is the same memory


def test_saving_in_the_background_keeps_a_copy() -> None:
    part = 4 * -(-P // 4)
    for device, here, host in (("cpu", 3 * part, 0), ("cuda", 0, 3 * part)):
        plain, saving = (of("zero1", Site(device, 4, 1, True, background)) for background in (False, True))
        assert (saving.saving, saving.host) == (here, host)
        assert saving.total - plain.total == here
        assert saving.growth == plain.growth  # before the first save


def test_bytes_sent_in_a_step() -> None:
    share = 4 * P * 3 // 4
    once, thrice = Site("cuda", 4, 1, True), Site("cuda", 4, 3, False)
    sent = {
        (strategy, site.passes): communication(SHAPE, Setting(strategy=strategy), site)
        for strategy in get_args(Strategy)
        for site in (once, thrice)
    }
    assert sent == {
        ("ddp", 1): 2 * share,
        ("ddp", 3): 2 * share,
        ("zero1", 1): 3 * share,
        ("zero1", 3): 3 * share,
        ("zero2", 1): 3 * share,
        ("zero2", 3): 7 * share,
        ("zero3", 1): 3 * share,
        ("zero3", 3): 9 * share,
    }
    assert communication(SHAPE, Setting(strategy="zero3", activation_checkpointing=True), once) == 4 * share
    assert communication(SHAPE, Setting(strategy="zero3"), ALONE) == 0
    assert communication(SHAPE, Setting(strategy="zero3"), Site("cpu", 4, 3, False)) == 3 * share  # nothing is gathered


def test_an_older_plan_without_moments_is_the_sum_of_its_parts() -> None:
    old = MemoryPlan(parameters=1, gradients=2, optimizer=3, activations=4, buffers=5)
    assert old.total == 15


def test_disk() -> None:
    keeping = CheckpointSection(keep_last=2, keep_best=1, keep_every=0)
    disk = disk_plan(SHAPE, keeping, total_steps=1000, best=True)
    assert disk.checkpoint == 12 * P + 2**20
    assert disk.retained == 4 * disk.checkpoint  # two newest, the best, and the one being written
    assert disk.model == 4 * P + 32 * SHAPE.vocab_size
    assert disk_plan(SHAPE, keeping, 1000, best=False).retained == 3 * disk.checkpoint
    every = CheckpointSection(keep_last=2, keep_best=1, keep_every=300)
    assert disk_plan(SHAPE, every, 1000, best=True).retained == 7 * disk.checkpoint
