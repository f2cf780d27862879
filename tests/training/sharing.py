"""The program that one rank of `test_exchange.py` runs: collectives in shared memory beside those of gloo.

``python sharing.py FOLDER RANK WORLD_SIZE PARENT`` reads FOLDER/argument.json: a plan, the size of a slot, and what is
wrong on purpose: ``apart``, a rank that cannot see the memory; ``early``, ranks that do not wait for a late one;
``gone``, one that is killed; ``sizes``, ranks that come with different ones;
``wire``: nothing, but they are told that they are on several machines. Leaves FOLDER/result-RANK.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from torch import Tensor
from torch._utils import _unflatten_dense_tensors

from biodist.errors import BiodistError
from biodist.plan.plan import Plan
from biodist.run.durable import write_json
from biodist.run.tether import tether
from biodist.training import exchange
from biodist.training.exchange import NodeMemory, Wire, open_exchange
from biodist.training.group import Control, process_group
from biodist.training.placement import Placement
from biodist.training.shared_weights import share_weights
from biodist.training.worker import end

SIZES = (1, 7, 1000, 1001, 4096, 12_345)  # elements; a slot has a thousand


def main() -> None:
    folder, rank, world_size, parent = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    tether(parent)
    torch.set_num_threads(1)
    given = json.loads((folder / "argument.json").read_text())
    exchange.SLOT = given["slot"]
    placement = Placement(folder, rank, rank, world_size, f"file://{folder}/rendezvous", "", parent)
    with process_group(Plan.model_validate(given["plan"]), placement) as control:
        write_json(folder / f"result-{rank}.json", live(control, given["wrong"]))
    end(0)


def live(control: Control, wrong: str) -> Any:
    apart = wrong == "apart" and control.rank == 1
    with patch.object(exchange, "_find", lambda *_: None) if apart else patch.object(exchange, "LEAST", 1):
        memory = open_exchange(control, one_machine=wrong != "wire")
    if wrong == "gone" and control.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if wrong in ("gone", "sizes"):
        return refused(memory, 5000 + control.rank)
    if wrong == "early":
        memory._control = Hasty(**vars(memory._control))
        if control.rank == 1:
            memory._turned = partial(_late, memory._turned)  # type: ignore[method-assign]
    torch.manual_seed(control.rank)
    same = {f"{name} {size}": check(memory, control, size) for name, check in CHECKS.items() for size in SIZES}
    same |= {f"weights {size}": check_weights(memory, control, size, late=wrong == "early") for size in SIZES}
    return {
        "shared": isinstance(memory, NodeMemory),
        "same": same,
        "files": memory_files(),
        "bits": bits(memory, control),
    }


class Hasty(Control):
    """Waits for nobody."""

    def barrier(self) -> None:
        pass


def _late(turned: Callable[[], Tensor]) -> Tensor:
    time.sleep(0.03)
    return turned()


def memory_files() -> list[str]:
    """What of the memory this process holds open."""
    held = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            held.append(str(path.readlink()))
    return [name for name in held if "memfd:biodist" in name]


def bits(memory: Wire, control: Control) -> list[str]:
    """Digests of every sum, of the same tensors whatever carries them."""
    torch.manual_seed(100 + control.rank)
    whole, parts = torch.randn(12_345), torch.randn(control.world_size, 3000)
    memory.sum(whole)
    memory.sum_each(list(enumerate(parts)))
    return [hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in (whole, parts[control.rank])]


def refused(memory: Wire, elements: int) -> Any:
    began = time.monotonic()
    try:
        memory.sum(torch.ones(elements))
    except (BiodistError, RuntimeError) as error:
        return {"error": str(error), "seconds": time.monotonic() - began}
    return {"error": None}


def check_sum(memory: Wire, control: Control, size: int) -> bool:
    own = torch.randn(size)
    every = everybody(own, control)
    memory.sum(own)
    expected = every[0].clone()
    for other in every[1:]:
        expected += other
    return torch.equal(own, expected)


def check_sum_each(memory: Wire, control: Control, size: int) -> bool:
    """Pieces of unequal sizes for every rank, in turns, some for none but the last."""
    owners = [number % control.world_size for number in range(5)] + [control.world_size - 1]
    pieces = [torch.randn(max(1, size // (1 + number))) for number in range(len(owners))]
    every = [everybody(piece, control) for piece in pieces]
    before = [piece.clone() for piece in pieces]
    memory.sum_each(list(zip(owners, pieces, strict=True)))
    for owner, piece, was, all_of in zip(owners, pieces, before, every, strict=True):
        expected = was
        if owner == control.rank:
            for rank, other in enumerate(all_of):
                if rank != owner:
                    expected = expected + other
        if not torch.equal(piece, expected):
            return False
    return True


def check_gather(memory: Wire, control: Control, size: int) -> bool:
    part = torch.randn(size)
    expected = torch.cat(everybody(part, control))
    apart, within = torch.empty(size * control.world_size), torch.zeros(size * control.world_size)
    memory.gather(apart, part)
    place = within.view(control.world_size, -1)[control.rank]
    place.copy_(part)
    memory.gather(within, place)
    return torch.equal(apart, expected) and torch.equal(within, expected)


def check_weights(memory: Wire, control: Control, size: int, late: bool) -> bool:
    """Three weights, one of them small, as ZeRO-3 has them: read by all once each has updated its part."""
    weights = [torch.randn(size), torch.randn(3), torch.randn(2, size)]
    for weight in weights:
        dist.broadcast(weight, src=0, group=control.group)
    parameters = [partitioned(number, weight, control) for number, weight in enumerate(weights)]
    own = [parameter.ds_tensor for parameter in parameters]
    before = [part.data_ptr() for part in own]
    zero = SimpleNamespace(
        fp16_partitioned_groups=[own],
        fp16_partitioned_groups_flat=[torch.empty(1)],
        fp32_partitioned_groups_flat=[2 * torch.cat(own)],
        unflatten=_unflatten_dense_tensors,
        checkpoint_event_epilogue=lambda: None,
    )
    share_weights(zero, parameters, memory)  # type: ignore[arg-type]
    if not isinstance(memory, NodeMemory):
        return [part.data_ptr() for part in own] == before
    if late and control.rank == 1:
        time.sleep(0.03)
    zero._reassign_or_swap_out_partitioned_parameters(0)
    gathering = parameters[0].all_gather_coalesced(parameters[:2])
    gathering.wait(handle_dependency=False)
    parameters[2].all_gather()
    read = [parameter.data.clone() for parameter in parameters]
    parameters[1].ds_status = ZeroParamStatus.NOT_AVAILABLE
    gathering.wait()  # for the second one, which has been released since
    assert parameters[1].ds_status is ZeroParamStatus.NOT_AVAILABLE
    control.barrier()
    return all(torch.equal(one, 2 * weight) for one, weight in zip(read, weights, strict=True))


def partitioned(number: int, weight: Tensor, control: Control) -> Any:
    """What DeepSpeed notes on a parameter, of which this rank has its part, padded."""
    part = -(-weight.numel() // control.world_size)
    padded = torch.zeros(part * control.world_size)
    padded[: weight.numel()] = weight.view(-1)
    own = padded.view(-1, part)[control.rank].clone()
    own.ds_numel = part  # type: ignore[attr-defined]
    return SimpleNamespace(
        data=torch.empty(0),
        ds_id=number,
        ds_numel=weight.numel(),
        ds_numel_aligned=len(padded),
        ds_shape=weight.shape,
        ds_status=ZeroParamStatus.NOT_AVAILABLE,
        ds_tensor=own,
    )


def everybody(own: Tensor, control: Control) -> list[Tensor]:
    every = [torch.empty_like(own) for _ in range(control.world_size)]
    dist.all_gather(every, own, group=control.group)
    return every


CHECKS: dict[str, Callable[[Wire, Control, int], bool]] = {
    "sum": check_sum,
    "sum each": check_sum_each,
    "gather": check_gather,
}

if __name__ == "__main__":
    main()
