"""ZeRO-3's weights in memory that the ranks of one machine share: nothing is gathered, each reads all where they lie.

Every weight is whole there, the ranks' parts side by side; a rank writes its own part alone, once it has updated it,
while no other reads. Imports DeepSpeed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from torch import Tensor, nn

from biodist.training.exchange import Wire

ALIGNED = 16  # elements: a weight begins where one in memory of its own would, for the matrix libraries
PRIVATE = (
    "_reassign_or_swap_out_partitioned_parameters",
    "checkpoint_event_epilogue",
    "fp16_partitioned_groups",
    "fp16_partitioned_groups_flat",
    "fp32_partitioned_groups_flat",
    "lp_param_buffer",
    "unflatten",
)


class SharedWeights:
    """What a gather gives: weights as views of the shared memory, by DeepSpeed's number."""

    def __init__(self, whole: dict[int, Tensor]):
        self._whole = whole

    def gather(self, parameter: Any, param_list: Iterable[Any] | None = None, *_: Any, **__: Any) -> None:
        """A parameter's own ``all_gather``: of itself, or of these."""
        self.gather_later([parameter] if param_list is None else param_list).wait()

    def gather_later(self, parameters: Iterable[Any], *_: Any, **__: Any) -> Gathering:
        """A parameter's ``all_gather_coalesced``."""
        away = [one for one in parameters if one.ds_status is ZeroParamStatus.NOT_AVAILABLE]
        for parameter in away:
            parameter.ds_status = ZeroParamStatus.INFLIGHT
        return Gathering(away, self._whole)


class Gathering:
    """What DeepSpeed waits for before it uses the parameters: once for each of them, though the first time gives all.

    Later ones change nothing: some may have been released since.
    """

    def __init__(self, parameters: Sequence[Any], whole: dict[int, Tensor]):
        self._parameters = parameters
        self._whole = whole

    def wait(self, **_: Any) -> None:
        asked, self._parameters = self._parameters, ()
        for parameter in asked:
            parameter.data = self._whole[parameter.ds_id]
            parameter.ds_status = ZeroParamStatus.AVAILABLE


def share_weights(zero: Any, parameters: Sequence[nn.Parameter], exchange: Wire) -> bool:
    """Moves every rank's parts of the weights to where all can read them. False where these ranks share no memory, or
    hold weights that are not fp32: then nothing is moved.

    ``parameters`` are all of the model, in the same order on every rank.
    """
    if any(parameter.ds_tensor.dtype != torch.float32 for parameter in parameters):  # type: ignore[attr-defined]
        return False
    room = exchange.room(_begins(parameters)[-1])
    if room is None:
        return False
    whole = _moved(parameters, room)
    weights = SharedWeights(whole)
    for parameter in parameters:
        parameter.all_gather = partial(weights.gather, parameter)  # type: ignore[attr-defined]
        parameter.all_gather_coalesced = weights.gather_later  # type: ignore[attr-defined]
        if parameter.ds_status is ZeroParamStatus.AVAILABLE:  # type: ignore[attr-defined]  # a small one: it stays
            parameter.data = whole[parameter.ds_id]  # type: ignore[attr-defined]
    _write_there(zero, exchange)
    exchange.meet()
    return True


def _begins(parameters: Sequence[Any]) -> list[int]:
    """Where each parameter begins, and at last where there is nothing more."""
    sizes = (parameter.ds_numel_aligned for parameter in parameters)
    return [0, *accumulate(-(-size // ALIGNED) * ALIGNED for size in sizes)]


def _moved(parameters: Sequence[Any], room: Tensor) -> dict[int, Tensor]:
    """Each whole weight, of which the own part is filled."""
    whole = {}
    for parameter, begin in zip(parameters, _begins(parameters), strict=False):
        parts = room[begin:][: parameter.ds_numel_aligned].view(-1, parameter.ds_tensor.ds_numel)
        own = parts[torch.distributed.get_rank()]
        own.copy_(parameter.ds_tensor)
        parameter.ds_tensor.data = own
        whole[parameter.ds_id] = parts.view(-1)[: parameter.ds_numel].view(parameter.ds_shape)
    return whole


def _write_there(zero: Any, exchange: Wire) -> None:
    """What was updated, or read from a checkpoint, is put there; the ranks meet before, and before anybody reads it."""
    gather_small = zero.checkpoint_event_epilogue

    def updated(group: int) -> None:
        own = zero.fp16_partitioned_groups[group]
        exchange.meet()
        torch._foreach_copy_(own, zero.unflatten(zero.fp32_partitioned_groups_flat[group].data, own))
        exchange.meet()

    def loaded() -> None:
        exchange.meet()
        gather_small()

    zero._reassign_or_swap_out_partitioned_parameters = updated
    zero.checkpoint_event_epilogue = loaded
    # The parts' former place: nothing is to be read there again.
    zero.lp_param_buffer = torch.empty(0)
    zero.fp16_partitioned_groups_flat = [torch.empty(0) for _ in zero.fp16_partitioned_groups_flat]
