"""ZeRO on CPUs: what DeepSpeed sums and gathers goes through an exchange of ours.

Private to DeepSpeed are ``cdb`` and what `sum_at_owners`, `scatter_sums` and `share_weights` put in place of its own: a
test fails when a new version goes another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from biodist.errors import RunFailed
from biodist.plan.plan import Plan
from biodist.training.exchange import Wire, open_exchange
from biodist.training.group import Control

Bucket = Sequence[tuple[frozenset[int], Tensor, Tensor | None]]  # owner, its gradient, its place in the owned part
_CACHED = 2**16  # elements
_PRIVATE = (
    "allreduce_and_scatter",
    "gradient_average",
    "get_grad_norm_direct",
    "_use_compact_grad_partition_buffer",
    "_add_to_grad_partition_buffer",
)
_PRIVATE_3 = (
    "_DeepSpeedZeroOptimizer_Stage3__avg_scatter_grads",
    "_prepare_fp32_grad_for_sub_group",
    "fp32_partitioned_groups_flat",
    "averaged_gradients",
    "grad_partitions_flat_buffer",
    "get_grad_norm_direct",
    "flatten",
)


def zero_exchange(plan: Plan, control: Control) -> Wire | None:
    """What ZeRO sums and gathers through from here on; None without ZeRO, on GPUs, and for a process that is alone."""
    machine = plan.machine
    if not plan.zero_stage or machine.device != "cpu" or machine.world_size == 1:
        return None
    exchange = open_exchange(control, machine.nodes == 1)
    _use(exchange, timedelta(seconds=plan.recipe.distributed.timeout_s))
    return exchange


def _use(exchange: Wire, timeout: timedelta) -> None:
    """DeepSpeed takes over the backend that is there when it starts (`deepspeed.comm.init_distributed`)."""
    import deepspeed.comm.comm as deepspeed_comm

    from biodist.training.zero_backend import ExchangeBackend

    if isinstance(deepspeed_comm.cdb, ExchangeBackend):  # of an earlier engine of this process
        deepspeed_comm.cdb.exchange = exchange
    else:
        deepspeed_comm.cdb = ExchangeBackend(exchange, timeout)


def sum_at_owners(zero: Any, exchange: Wire, offload: bool) -> None:
    """Lets ZeRO-1 and ZeRO-2 send each gradient to the process that owns it, the owners of a bucket at one time.

    DeepSpeed sums whole buckets on every process, copies what is owned aside, then once more into one piece. Under
    ZeRO-2 sums go into that piece at once: its own way where gradients have another precision than weights. Averages
    are made of the sums, each by its owner, and the norm of what is owned without a copy of it in fp64.

    Raises:
        RunFailed: DeepSpeed has not what is replaced here.
    """
    own, world_size = dist.get_rank(), dist.get_world_size()
    _require(zero, _PRIVATE)

    def allreduce_and_scatter(bucket: Bucket, *_: Any, **__: Any) -> None:
        exchange.sum_each([(owner, gradient) for owners, gradient, _ in bucket for owner in owners])
        for owners, gradient, place in bucket:
            if own in owners:
                zero._add_to_grad_partition_buffer(place, gradient.div_(world_size))

    zero.gradient_average = False  # before the sum, of all gradients
    zero.allreduce_and_scatter = allreduce_and_scatter
    zero.get_grad_norm_direct = _norm
    if zero.partition_gradients and not offload:
        zero._use_compact_grad_partition_buffer = lambda group: True


def scatter_sums(zero: Any, exchange: Wire) -> None:
    """Lets ZeRO-3 sum each gradient's parts where they lie, and update from the memory that they are brought to.

    DeepSpeed lays parts of several gradients end to end before it sums them, and copies what was summed once more into
    one piece for the update, though it lies in one already.

    Raises:
        RunFailed: DeepSpeed has not what is replaced here.
    """
    own, world_size = dist.get_rank(), dist.get_world_size()
    _require(zero, _PRIVATE_3)

    def avg_scatter_grads(parameters: Sequence[Any], *_: Any) -> list[Tensor]:
        cut = [_parts(parameter.grad, world_size) for parameter in parameters]
        exchange.sum_each([(rank, part) for parts in cut for rank, part in enumerate(parts)])
        return [parts[own].div_(world_size) for parts in cut]

    def prepare_fp32_grad(group: int) -> None:
        pieces = zero.averaged_gradients[group]
        one = _as_one(zero.grad_partitions_flat_buffer, pieces)
        zero.fp32_partitioned_groups_flat[group].grad = zero.flatten(pieces) if one is None else one
        zero.averaged_gradients[group] = None

    zero._DeepSpeedZeroOptimizer_Stage3__avg_scatter_grads = avg_scatter_grads
    zero._prepare_fp32_grad_for_sub_group = prepare_fp32_grad
    zero.get_grad_norm_direct = _norm


def share_weights(zero: Any, parameters: Sequence[nn.Parameter], exchange: Wire) -> bool:
    """Lets ZeRO-3's ranks on one machine read each other's weights where they lie; whether they do from here on.

    Raises:
        RunFailed: DeepSpeed has not what is replaced here.
    """
    from biodist.training import shared_weights

    _require(zero, shared_weights.PRIVATE)
    return shared_weights.share_weights(zero, parameters, exchange)


def _require(zero: Any, private: Sequence[str]) -> None:
    if missing := [name for name in private if not hasattr(zero, name)]:
        raise RunFailed(f"this version of DeepSpeed has no {', '.join(missing)}: install one that pyproject.toml names")


def _parts(gradient: Tensor, world_size: int) -> list[Tensor]:
    """Every rank's part, as ZeRO-3 cuts: as large as the first, as long as there is something."""
    flat, size = gradient.view(-1), -(-gradient.numel() // world_size)
    return [flat[rank * size : (rank + 1) * size] for rank in range(world_size)]


def _as_one(whole: Tensor, pieces: Sequence[Tensor]) -> Tensor | None:
    """The stretch of ``whole`` in which the pieces lie end to end; None where they do not."""
    size = sum(piece.numel() for piece in pieces)
    begin = (pieces[0].data_ptr() - whole.data_ptr()) // whole.itemsize
    stretch = whole[max(0, begin) : begin + size]
    cut = torch.split(stretch, [piece.numel() for piece in pieces]) if stretch.numel() == size else ()
    together = len(cut) and all(one.data_ptr() == piece.data_ptr() for one, piece in zip(cut, pieces, strict=True))
    return stretch if together else None


def _norm(gradients: Iterable[Tensor], *_: Any) -> Tensor:
    """Of all ranks' gradients together, each rank calling with its own; -1 where it is not finite, as DeepSpeed has it.

    The squares are summed in fp64, in pieces that a core's cache holds.
    """
    total = torch.zeros((), dtype=torch.float64)
    for gradient in gradients:
        if not getattr(gradient, "_zero_padding", False):
            for piece in torch.split(gradient.detach().view(-1), _CACHED):
                exact = piece.double()
                total += torch.dot(exact, exact)
    dist.all_reduce(total)
    norm = total.sqrt().float()
    return norm if norm.isfinite() else torch.full_like(norm, -1.0)
