"""Plans for a cluster: they follow from the profile alone, not from the machine that plans."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.config.profile import Profile
from biodist.config.recipe import Recipe
from biodist.errors import MachineCannot, UserError
from biodist.plan.decide import decide, place_on
from biodist.plan.index import DataIndex
from biodist.plan.plan import ModelPlan, Plan

RecipeOf = Callable[..., Recipe]
GPUS = Profile(
    name="gpus",
    nodes=2,
    gpus_per_node=4,
    gpu_name="NVIDIA V100",
    gpu_memory_gb=16,
    gpu_compute_capability=7.0,
    cpus_per_process=6,
    memory_gb=200,
    time_limit_min=60,
    network_interface="ib0",
)
STAND_INS = Profile(name="dev", gpus_per_node=2, device="cpu", cpus_per_process=1, memory_gb=4, time_limit_min=60)


@pytest.fixture
def planned(recipe_of: RecipeOf, index: DataIndex, model: ModelPlan) -> Callable[..., Plan]:
    def build(profile: Profile, nodes: int | None = None, nproc: int | None = None, **sections: object) -> Plan:
        return decide(recipe_of(**sections), index, model, place_on(profile, nodes, nproc), profile=profile)

    return build


def test_a_rank_on_each_gpu() -> None:
    where = place_on(GPUS)
    assert (where.device, where.backend, where.device_name) == ("cuda", "nccl", "NVIDIA V100")
    assert (where.nodes, where.processes_per_node, where.world_size) == (2, 4, 8)
    assert (where.threads_per_process, where.cores_per_node, where.memory_gb_per_process) == (6, 24, 16.0)
    assert (where.compute_capability, where.network_interface) == (7.0, "ib0")


def test_stand_ins_are_left_alone_and_said(planned: Callable[..., Plan]) -> None:
    plan = planned(STAND_INS, nodes=2)
    where = plan.machine
    assert (where.device, where.backend, where.world_size, where.compute_capability) == ("cpu", "gloo", 4, None)
    assert (where.memory_gb_per_process, where.device_name) == (2.0, "CPUs of dev")
    assert plan.notices == ("profile dev: ranks run on the CPU with gloo; the 2 GPUs asked for on a node stay unused",)
    assert plan.profile == STAND_INS


def test_the_commands_numbers_take_the_place_of_the_profiles() -> None:
    where = place_on(GPUS, nodes=3, nproc=1)
    assert (where.nodes, where.processes_per_node, where.world_size) == (3, 1, 3)
    assert place_on(STAND_INS, nproc=5).memory_gb_per_process == 0.8
    # A GPU's memory is its own, however many ranks there are.
    assert where.memory_gb_per_process == 16.0


def test_more_ranks_than_gpus() -> None:
    with pytest.raises(MachineCannot) as caught:
        place_on(GPUS, nproc=5)
    assert str(caught.value) == (
        "5 processes a node need 5 GPUs, but a node of profile gpus has 4: use --nproc 4 or less, and more --nodes"
    )
    assert caught.value.exit_code == 4


def test_none_at_all_is_said_of_both_at_once() -> None:
    with pytest.raises(UserError) as caught:
        place_on(GPUS, nodes=0, nproc=-1)
    assert [str(problem) for problem in caught.value.problems] == [
        "--nodes: must be at least 1, but is 0 (leave it out to use what is there)",
        "--nproc: must be at least 1, but is -1 (leave it out to use what is there)",
    ]


def test_gpus_without_bf16_are_said(planned: Callable[..., Plan]) -> None:
    slow = "train.precision: NVIDIA V100 has no bf16 of its own and is slow at it; fp16 is faster"
    assert planned(GPUS, train={"precision": "bf16"}).notices == (slow,)
    assert planned(GPUS, train={"precision": "fp16"}).notices == ()
    for known in (8.0, None):  # what is not known is not guessed
        newer = GPUS.model_copy(update={"gpu_compute_capability": known})
        assert planned(newer, train={"precision": "bf16"}).notices == ()


def test_fp16_on_a_profiles_cpus_is_bf16_and_said(planned: Callable[..., Plan]) -> None:
    plan = planned(STAND_INS, train={"precision": "fp16"})
    assert plan.precision == "bf16"
    assert "train.precision: fp16 needs a GPU; bf16 is used instead" in plan.notices
    assert planned(GPUS, train={"precision": "fp16"}).precision == "fp16"


def test_a_model_that_no_gpu_holds(planned: Callable[..., Plan]) -> None:
    small = GPUS.model_copy(update={"gpu_memory_gb": 0.001})
    with pytest.raises(MachineCannot, match=r"under ddp on 8 processes, .*nothing fits here: use more or larger nodes"):
        planned(small)


@settings(max_examples=60, deadline=None)
@given(nodes=st.integers(1, 500), gpus=st.integers(0, 16), nproc=st.integers(1, 16) | st.none(), cpu=st.booleans())
def test_ranks_are_the_nodes_times_those_of_a_node(nodes: int, gpus: int, nproc: int | None, cpu: bool) -> None:
    profile = Profile(
        name="p",
        gpus_per_node=gpus,
        gpu_memory_gb=16,
        device="cpu" if cpu else "auto",
        memory_gb=64,
        time_limit_min=5,
    )
    try:
        where = place_on(profile, nodes, nproc)
    except MachineCannot:
        assert not cpu and gpus and nproc is not None and nproc > gpus
        return
    assert where.world_size == nodes * where.processes_per_node
    assert where.processes_per_node == (nproc or max(1, gpus))
    assert (where.device == "cuda") == (gpus > 0 and not cpu) == (where.backend == "nccl")
    if where.device == "cuda":
        assert where.processes_per_node <= gpus and profile.gpus_of(where.processes_per_node) <= gpus
