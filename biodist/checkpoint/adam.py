"""What Adam keeps of each tensor: torch's own optimizer, and DeepSpeed's on the CPU (``distributed.offload: cpu``).

DeepSpeed's private attributes are used here and in `biodist.checkpoint.fragments`, nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def moments(adam: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Adam's state of one tensor; made as Adam itself would make it when no step was taken yet."""
    state: dict[str, Tensor] = adam.state[parameter]
    if "exp_avg" not in state:
        state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        _set_step(adam, state, 0)
    return state


def set_steps(adam: torch.optim.Optimizer, parameters: Iterable[Tensor], step: int) -> None:
    """Lets Adam count ``step`` updates of these tensors, which must be all of its tensors."""
    for parameter in parameters:
        _set_step(adam, moments(adam, parameter), step)
    if _is_native(adam):
        _replay(adam, step)


def _is_native(adam: torch.optim.Optimizer) -> bool:
    return hasattr(adam, "ds_opt_adam")


def _set_step(adam: torch.optim.Optimizer, state: dict[str, Tensor], step: int) -> None:
    if _is_native(adam):
        state["step"] = step  # type: ignore[assignment]  # its native code wants a plain number
    else:
        state["step"] = torch.full((), step, dtype=torch.float32, device=state["exp_avg"].device)


def _replay(adam: torch.optim.Optimizer, step: int) -> None:
    """Brings the powers of beta that the native code keeps to where ``step`` updates leave them.

    It multiplies them up update by update, but takes `pow` after a jump, which differs in the last digits
    (`cpu_adam.h`, `IncrementStep`): a resumed run would leave the uninterrupted one. So every update is made again,
    of a tensor of one element. A few microseconds each.
    """
    group, nothing = adam.param_groups[0], [torch.zeros(1) for _ in range(4)]
    update, number = adam.ds_opt_adam.adam_update, adam.opt_id  # type: ignore[attr-defined]
    for count in range(step + 1):  # update 0 sets the powers back to 1
        update(number, count, 0.0, *group["betas"], group["eps"], 0.0, False, *nothing)
