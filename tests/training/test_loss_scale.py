"""The loss scale follows the rule of torch's own scaler."""

from __future__ import annotations

import pytest
import torch

from biodist.checkpoint.manifest import ScalerState
from biodist.training.loss_scale import FIRST, PATIENCE, DynamicLossScale


def after(overflows: list[bool]) -> list[tuple[float, int]]:
    """torch's scale and count of good steps after each step."""
    scaler = torch.amp.GradScaler(device="cpu", init_scale=FIRST, growth_interval=PATIENCE)
    parameter = torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    states = []
    for overflowed in overflows:
        scaler.scale(parameter * 1.0).backward()
        if overflowed:
            assert parameter.grad is not None
            parameter.grad.fill_(float("inf"))
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        state = scaler.state_dict()
        states.append((state["scale"], state["_growth_tracker"]))
    return states


@pytest.mark.parametrize(
    "overflows", [[True] * 3 + [False] * 5 + [True], [False] * PATIENCE + [True], [True] + [False] * (PATIENCE + 2)]
)
def test_it_falls_and_grows_as_torchs(overflows: list[bool]) -> None:
    ours, found = DynamicLossScale(), []
    for overflowed in overflows:
        ours.update(overflowed)
        found.append((ours.state.scale, ours.state.good_steps))
    assert found == after(overflows)
    assert ours.state.skipped == sum(overflows)


def test_it_goes_on_from_a_state() -> None:
    whole, first, second = DynamicLossScale(), DynamicLossScale(), DynamicLossScale()
    steps = [True, False, False, True] + [False] * PATIENCE
    for overflowed in steps:
        whole.update(overflowed)
    for overflowed in steps[:500]:
        first.update(overflowed)
    second.state = ScalerState.model_validate_json(first.state.model_dump_json())
    for overflowed in steps[500:]:
        second.update(overflowed)
    assert second.state == whole.state and whole.scale == FIRST / 2
