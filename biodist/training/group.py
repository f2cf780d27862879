"""The process group of an attempt, and the small collectives that run beside training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from biodist.plan.plan import Plan
from biodist.training.placement import Placement

T = TypeVar("T")


@dataclass(frozen=True)
class Control:
    """Collectives on the CPU, over gloo, whatever the model trains on: they neither wait for a GPU nor block one."""

    rank: int
    world_size: int
    group: dist.ProcessGroup | None = None  # None when alone
    timeout: timedelta | None = None

    def gather_rows(self, row: torch.Tensor) -> torch.Tensor:
        """Every rank's int64 row of equal length, as (world_size, length)."""
        if self.group is None:
            return row.unsqueeze(0)
        rows = torch.empty(self.world_size, row.numel(), dtype=row.dtype)
        dist.all_gather(list(rows.unbind(0)), row, group=self.group)
        return rows

    def gather(self, value: T) -> list[T]:
        """Every rank's value, by rank, on every rank. Values are our own processes' only."""
        if self.group is None:
            return [value]
        values: list[T | None] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.group)
        return values  # type: ignore[return-value]

    def share(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def any(self, wish: bool) -> bool:
        """Whether any rank wishes it: the same answer on every rank."""
        if self.group is None:
            return wish
        return bool(self.gather_rows(torch.tensor([int(wish)], dtype=torch.int64)).any())

    def twin(self, patience: int = 1) -> Control:
        """The same ranks over a group of its own, whose collectives must not mix with these; it waits for ``patience``
        times as long."""
        if self.group is None or self.timeout is None:
            return self
        return replace(self, group=dist.new_group(backend="gloo", timeout=patience * self.timeout))

    def barrier(self) -> None:
        """Waits for every rank."""
        if self.group is not None:
            dist.barrier(group=self.group)


@contextmanager
def process_group(plan: Plan, placement: Placement) -> Iterator[Control]:
    """Joins the attempt's group through its rendezvous; Accelerate and DeepSpeed take this group over.

    The variables they read are set here, once, and nowhere else. One process under ddp needs no group: with one,
    Accelerate would wrap the model for peers that are not there.
    """
    if placement.world_size == 1 and not plan.zero_stage:
        yield Control(0, 1)
        return
    os.environ.update(
        RANK=str(placement.rank),
        LOCAL_RANK=str(placement.local_rank),
        WORLD_SIZE=str(placement.world_size),
        LOCAL_WORLD_SIZE=str(plan.machine.processes_per_node),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT="0",
    )
    if plan.machine.device == "cuda":
        torch.cuda.set_device(placement.local_rank)
    timeout = timedelta(seconds=plan.recipe.distributed.timeout_s)
    store = _store_between_nodes(placement, timeout)
    dist.init_process_group(
        plan.machine.backend,
        init_method=placement.rendezvous if store is None else None,
        store=store,
        rank=placement.rank,
        world_size=placement.world_size,
        timeout=timeout,
    )
    group = dist.new_group(backend="gloo", timeout=timeout) if placement.world_size > 1 else None
    try:
        yield Control(placement.rank, placement.world_size, group, timeout)
    finally:
        dist.destroy_process_group()


def _store_between_nodes(placement: Placement, timeout: timedelta) -> TCPStore | None:
    """Where the ranks of several nodes meet; None on one machine, where a file serves.

    Rank 0 takes over the socket that its launcher listens with: torch's own rendezvous would open the port anew, and
    another process could have taken it since it was found free.
    """
    url = urlsplit(placement.rendezvous)
    if url.scheme != "tcp":
        return None
    assert url.hostname is not None and url.port is not None
    return TCPStore(
        url.hostname,
        url.port,
        placement.world_size,
        is_master=placement.rank == 0,
        timeout=timeout,
        master_listen_fd=placement.listening,
    )
