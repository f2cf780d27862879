"""DeepSpeed's collectives through an exchange of ours. Imports DeepSpeed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch.distributed as dist
from deepspeed.comm.reduce_op import ReduceOp
from deepspeed.comm.torch import TorchBackend
from torch import Tensor

from biodist.training.exchange import Wire


class Done:
    """Of a collective that is over when its call returns."""

    def wait(self) -> None:
        pass


class ExchangeBackend(TorchBackend):  # type: ignore[misc]
    """As DeepSpeed's own, but for large fp32 tensors that all ranks sum or gather."""

    def __init__(self, exchange: Wire, timeout: timedelta):
        super().__init__("gloo", timeout, None)
        self.exchange = exchange

    def all_reduce(self, tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Any:
        if not self._takes(op, group, tensor):
            return super().all_reduce(tensor, op, group, async_op)
        self.exchange.sum(tensor)
        return Done()

    def all_gather_into_tensor(
        self, output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
    ) -> Any:
        if not self._takes(ReduceOp.SUM, group, output_tensor, input_tensor):
            return super().all_gather_into_tensor(output_tensor, input_tensor, group, async_op)
        self.exchange.gather(output_tensor, input_tensor)
        return Done()

    def _takes(self, op: Any, group: Any, *tensors: Tensor) -> bool:
        everybody = group is None or dist.get_world_size(group) == dist.get_world_size()
        return everybody and op in (ReduceOp.SUM, dist.ReduceOp.SUM) and self.exchange.takes(*tensors)
