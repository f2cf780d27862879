"""ZeRO on the CPUs of one machine: what DeepSpeed sums and gathers goes through the ranks' shared memory.

Private to DeepSpeed are ``cdb``, ``allreduce_and_scatter`` and what says whether an owned part is one piece: a test
fails when a new version goes another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch import Tensor

from biodist.errors import RunFailed
from biodist.plan.plan import Plan
from biodist.training.group import Control
from biodist.training.node_memory import NodeMemory

Bucket = Sequence[tuple[frozenset[int], Tensor, Tensor | None]]  # owner, its gradient, its place in the owned part


def shared_memory(plan: Plan, control: Control) -> NodeMemory | None:
    """What the ranks share from here on; None where they train on GPUs, several machines or without ZeRO, or cannot
    share: gloo then does it all."""
    if not plan.zero_stage or not plan.machine.shares_memory:
        return None
    memory = NodeMemory.open(control)
    if memory is not None:
        _use(memory, timedelta(seconds=plan.recipe.distributed.timeout_s))
    return memory


def _use(memory: NodeMemory, timeout: timedelta) -> None:
    """DeepSpeed takes over the backend that is there when it starts (`deepspeed.comm.init_distributed`)."""
    import deepspeed.comm.comm as deepspeed_comm

    from biodist.training.node_backend import NodeBackend

    if isinstance(deepspeed_comm.cdb, NodeBackend):  # of an earlier engine of this process
        deepspeed_comm.cdb.memory = memory
    else:
        deepspeed_comm.cdb = NodeBackend(memory, timeout)


def sum_at_owners(zero: Any, memory: NodeMemory, offload: bool) -> None:
    """Lets ZeRO-1 and ZeRO-2 send each gradient to the process that owns it, the owners of a bucket at one time.

    DeepSpeed sums whole buckets on every process, copies what is owned aside, then once more into one piece. Under
    ZeRO-2 sums go into that piece at once: its own way where gradients have another precision than weights.

    Raises:
        RunFailed: DeepSpeed has not what is replaced here.
    """
    own = dist.get_rank()
    private = ("allreduce_and_scatter", "_use_compact_grad_partition_buffer", "_add_to_grad_partition_buffer")
    if missing := [name for name in private if not hasattr(zero, name)]:
        raise RunFailed(f"this version of DeepSpeed has no {', '.join(missing)}: install one that pyproject.toml names")

    def allreduce_and_scatter(bucket: Bucket, *_: Any, **__: Any) -> None:
        memory.sum_each([(owner, gradient) for owners, gradient, _ in bucket for owner in owners])
        for owners, gradient, place in bucket:
            if own in owners:
                zero._add_to_grad_partition_buffer(place, gradient)

    zero.allreduce_and_scatter = allreduce_and_scatter
    if zero.partition_gradients and not offload:
        zero._use_compact_grad_partition_buffer = lambda group: True
