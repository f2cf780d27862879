"""The learning rate of every step is that of transformers' schedules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from biodist.plan.plan import Plan
from biodist.training.schedule import learning_rate


def theirs(schedule: str, peak: float, warmup: int, total: int) -> list[float]:
    """What transformers sets before each optimizer step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = {
        "linear": lambda: get_linear_schedule_with_warmup(optimizer, warmup, total),
        "cosine": lambda: get_cosine_schedule_with_warmup(optimizer, warmup, total),
        "constant": lambda: get_constant_schedule_with_warmup(optimizer, warmup),
    }[schedule]()
    rates = []
    for _ in range(total):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.fixture(scope="module")
def plan(plans: Callable[..., Plan]) -> Plan:
    return plans(1)


@settings(deadline=None, max_examples=60)
@given(
    schedule=st.sampled_from(["linear", "cosine", "constant"]),
    peak=st.floats(1e-7, 1.0),
    total=st.integers(1, 120),
    share=st.floats(0, 1),
)
def test_every_step_has_transformers_learning_rate(
    plan: Plan, schedule: str, peak: float, total: int, share: float
) -> None:
    warmup = round(total * share)
    train = plan.recipe.train.model_copy(update={"schedule": schedule, "learning_rate": peak})
    batch = plan.batch.model_copy(update={"warmup_steps": warmup, "total_steps": total})
    changed = plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"train": train}), "batch": batch})
    ours = [learning_rate(changed, step) for step in range(1, total + 1)]
    assert ours == pytest.approx(theirs(schedule, peak, warmup, total), rel=1e-9, abs=peak * 1e-12)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_schedule_does_not_know_the_world_size(plans: Callable[..., Plan], world_size: int) -> None:
    plan = plans(world_size)
    rates = [learning_rate(plan, step) for step in range(1, plan.batch.total_steps + 1)]
    assert rates == pytest.approx(theirs("linear", 2e-3, 5, 50), rel=1e-12, abs=0)
