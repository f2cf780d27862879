"""Which ways of training fit: every one is tried, and the cheapest is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from biodist.config.profile import Profile
from biodist.config.recipe import Recipe
from biodist.plan.decide import decide, place_on
from biodist.plan.fit import CHEAPEST_FIRST, FILL
from biodist.plan.index import DataIndex
from biodist.plan.plan import Choice, ModelPlan, Plan
from biodist.plan.shape import config_shape

RecipeOf = Callable[..., Recipe]
LARGE = {
    "model_type": "bert",
    "vocab_size": 28996,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}


@pytest.fixture
def planned(recipe_of: RecipeOf, index: DataIndex) -> Callable[..., Plan]:
    """BERT-large, 333 million parameters, under zero3 with checkpointing, on four GPUs of so many GB."""
    model = ModelPlan(folder="/models/large", shape=config_shape(LARGE, "config.json", labels=3))

    def build(gb: float, host_gb: float = 200, **sections: dict[str, object]) -> Plan:
        profile = Profile(
            name="p", gpus_per_node=4, gpu_memory_gb=gb, cpus_per_process=1, memory_gb=host_gb, time_limit_min=5
        )
        changes = {"model": {"activation_checkpointing": True}, "distributed": {"strategy": "zero3"}} | sections
        return decide(recipe_of(**changes), index, model, place_on(profile), profile=profile)

    return build


def cheapest(plan: Plan) -> Choice:
    return next(choice for choice in plan.choices if choice.fits)


def test_every_way_is_tried_once(planned: Callable[..., Plan]) -> None:
    ways = [(way.strategy, way.offload, way.activation_checkpointing) for way in CHEAPEST_FIRST]
    plain = [(strategy, "none", again) for strategy in ("ddp", "zero1", "zero2", "zero3") for again in (False, True)]
    offloaded = [(strategy, "cpu", again) for strategy in ("zero2", "zero3") for again in (False, True)]
    assert sorted(ways) == sorted(plain + offloaded)
    plan = planned(80)
    assert [(way.strategy, way.offload, way.activation_checkpointing) for way in plan.choices] == ways


def test_zero3_is_as_cheap_as_zero2_where_it_gathers_nothing(plans: Callable[..., Plan]) -> None:
    names = [choice.name for choice in plans(2).choices]
    assert names[:5] == ["ddp", "zero1", "zero2", "zero3", "ddp, checkpointing"]
    assert [name for name in names if "offload" in name] == names[-4:]
    assert sorted(names) == sorted(way.name for way in CHEAPEST_FIRST)


def test_less_memory_takes_dearer_ways(planned: Callable[..., Plan]) -> None:
    names = [cheapest(planned(gb)).name for gb in (80, 7, 5.5, 4.6, 4.2)]
    assert names[0] == "ddp"
    order = [way.name for way in CHEAPEST_FIRST]
    places = [order.index(name) for name in names]
    assert places == sorted(places) and len(set(places)) >= 3


def test_what_is_named_fits_at_its_micro_batch_and_no_larger_one_does(planned: Callable[..., Plan]) -> None:
    for gb in (80.0, 7.0, 5.5):
        for choice in planned(gb).choices:
            limit = FILL["cuda"] * gb * 10**9
            assert choice.fits == (choice.memory.total <= limit)
            if not choice.fits:
                assert choice.micro_batch == 1
            elif choice.micro_batch < 8:  # a process's share of 32 samples
                section, _, rest = choice.overrides[2].partition("=")
                larger = planned(
                    80.0,
                    train={"micro_batch": choice.micro_batch + 1},
                    model={section.split(".")[1]: rest == "true"},
                    distributed={"strategy": choice.strategy, "offload": choice.offload},
                )
                assert larger.memory.total > limit


def test_the_plans_own_way_is_among_them(planned: Callable[..., Plan]) -> None:
    plan = planned(80)
    (own,) = [choice for choice in plan.choices if choice.overrides == plan.setting.overrides]
    assert own.name == "zero3, checkpointing"
    assert (own.memory, own.micro_batch) == (plan.memory, plan.batch.micro_batch)


def test_offloading_needs_room_in_the_node(planned: Callable[..., Plan]) -> None:
    roomy, narrow = (
        [choice.fits for choice in planned(80, host_gb).choices if choice.offload == "cpu"] for host_gb in (200, 4)
    )
    assert all(roomy) and not any(narrow)


def test_the_recipes_micro_batch_is_everybodys(planned: Callable[..., Plan]) -> None:
    assert {choice.micro_batch for choice in planned(80, train={"micro_batch": 3}).choices} == {3}
