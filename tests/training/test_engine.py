"""The engine refuses to train when the libraries did anything but what the plan says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from biodist.plan.plan import Plan


def with_deepspeed(plan: Plan, **changes: Any) -> Plan:
    """A plan whose DeepSpeed configuration is not the one that the rest of it asks for."""
    assert plan.deepspeed is not None
    return plan.model_copy(update={"deepspeed": {**plan.deepspeed, **changes}})


def with_machine(plan: Plan, **changes: Any) -> Plan:
    return plan.model_copy(update={"machine": plan.machine.model_copy(update=changes)})


@pytest.fixture(scope="module")
def said(plans: Callable[..., Plan], run_jobs: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """One step of one process, under plans that each tell one thing wrongly."""
    ddp, zero1, zero2, zero3 = (plans(1, strategy=s) for s in ("ddp", "zero1", "zero2", "zero3"))
    assert zero2.deepspeed is not None
    plainly_wrong = {
        "honest": zero2,
        "world size": with_machine(ddp, world_size=2),
        "stage of 2": with_deepspeed(zero2, zero_optimization=zero1.deepspeed and zero1.deepspeed["zero_optimization"]),
        "stage of 1": with_deepspeed(zero1, zero_optimization=zero2.deepspeed["zero_optimization"]),
        "stage of 3": with_deepspeed(zero3, zero_optimization=zero2.deepspeed["zero_optimization"]),
        "clipping": with_deepspeed(zero2, gradient_clipping=5.0),
        "no clipping": with_deepspeed(zero3, gradient_clipping=0.0),
        "accumulation": with_deepspeed(zero2, gradient_accumulation_steps=2, train_batch_size=6),
        "offload": with_deepspeed(
            zero2,
            zero_optimization={
                **zero2.deepspeed["zero_optimization"],
                "offload_optimizer": {"device": "cpu", "pin_memory": False},
            },
        ),
        "several": with_deepspeed(zero2, gradient_clipping=5.0, gradient_accumulation_steps=2, train_batch_size=6),
    }
    return run_jobs([{"name": name, "plan": plan, "until": 1} for name, plan in plainly_wrong.items()])


def test_an_honest_plan_is_trained(said: dict[str, Any]) -> None:
    assert said["honest"]["error"] is None and len(said["honest"]["losses"]) == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("world size", ["world size: planned 2, found 1"]),
        ("stage of 2", ["ZeRO stage: planned 2, found 1"]),
        ("stage of 1", ["ZeRO stage: planned 1, found 2"]),
        ("stage of 3", ["ZeRO stage: planned 3, found 2"]),
        ("clipping", ["gradient clipping: planned 1.0, found 5.0"]),
        ("no clipping", ["gradient clipping: planned 1.0, found 0.0"]),
        ("accumulation", ["gradient accumulation: planned 1, found 2"]),
        ("offload", ["offload: planned none, found 'cpu'"]),
        ("several", ["gradient accumulation: planned 1, found 2", "gradient clipping: planned 1.0, found 5.0"]),
    ],
)
def test_a_difference_refuses_naming_both_values(said: dict[str, Any], name: str, values: list[str]) -> None:
    assert said[name]["losses"] == []
    error = said[name]["error"]
    assert error == "the libraries did not do what the plan says, so nothing was trained: " + "; ".join(values)
