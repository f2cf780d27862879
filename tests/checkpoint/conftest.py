"""Checkpoints of a small made-up state, saved by ranks that are threads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from biodist.checkpoint.fragments import Fragment, Share, TrainingState, training_state
from biodist.checkpoint.manifest import Cursor, Manifest, ScalerState
from biodist.checkpoint.saving import Moment, save

SHAPES = {"layer.weight": (7, 5), "layer.bias": (7,), "embedding": (31, 3), "scale": (1,), "table": (9, 4)}
FROZEN = "table"


def state_of(seed: int, rank: int = 0, world_size: int = 1) -> TrainingState:
    """Weights and moments drawn from ``seed``; ``owned`` is one rank's equal cut of them. One parameter is frozen."""
    draw = torch.Generator().manual_seed(seed)
    parameters = {n: torch.nn.Parameter(torch.randn(shape, generator=draw)) for n, shape in SHAPES.items()}
    adam = torch.optim.AdamW(parameters.values())
    parameters[FROZEN].requires_grad_(False)
    for parameter in (parameter for name, parameter in parameters.items() if name != FROZEN):
        adam.state[parameter] = {
            "step": torch.tensor(1.0),
            "exp_avg": torch.randn(parameter.shape, generator=draw),
            "exp_avg_sq": torch.rand(parameter.shape, generator=draw),
        }
    buffers = {
        "norm.count": torch.tensor(seed, dtype=torch.int64),
        "norm.mean": torch.randn(2, 3, generator=draw).to(torch.bfloat16),
        "seen": torch.rand(5, generator=draw) > 0.5,
    }
    scale = LossScale(ScalerState(scale=2.0**seed, good_steps=seed))
    return training_state("ddp", parameters, adam, rank, world_size, lambda: buffers, scale)


@dataclass
class LossScale:
    """Where the state of fp16's loss scale is kept."""

    state: ScalerState


class Meeting:
    """Where ranks that are threads of this process exchange values."""

    def __init__(self, world_size: int):
        self.values: list[Any] = [None] * world_size
        self.barrier = threading.Barrier(world_size, timeout=20)


@dataclass(frozen=True)
class ThreadRanks:
    """One of several ranks that are threads."""

    rank: int
    world_size: int
    meeting: Meeting

    def gather(self, value: Any) -> list[Any]:
        self.meeting.values[self.rank] = value
        self.meeting.barrier.wait()
        values = list(self.meeting.values)
        self.meeting.barrier.wait()
        return values

    def share(self, value: Any) -> Any:
        return self.gather(value)[0]


def together(world_size: int, act: Callable[[ThreadRanks], Any]) -> list[Any]:
    """What ``act`` gave on every rank; an exception stands in the place of what it was raised instead of."""
    meeting, said = Meeting(world_size), [None] * world_size

    def one(rank: int) -> None:
        try:
            said[rank] = act(ThreadRanks(rank, world_size, meeting))
        except Exception as error:
            said[rank] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive(), "a rank hangs"
    return said


def moment(step: int) -> Moment:
    return Moment(step, Cursor(epoch=1, step_of_epoch=step), 1, "ddp", "core", "data")


def save_all(
    folder: Path,
    step: int,
    *,
    seed: int = 0,
    world_size: int = 3,
    change: Callable[[int, Share], Share] = lambda rank, share: share,
    fragments: Callable[[int, Iterator[Fragment]], Iterator[Fragment]] = lambda rank, own: own,
    publishing: Callable[[], AbstractContextManager[object]] = nullcontext,
    strategy: str = "ddp",
) -> list[Manifest | Exception]:
    """Saves the state of ``seed`` from all ranks; ``change`` and ``fragments`` may change what a rank gives away."""

    def act(ranks: ThreadRanks) -> Manifest:
        share = state_of(seed, ranks.rank, world_size).share()
        share = change(ranks.rank, replace(share, fragments=fragments(ranks.rank, iter(share.fragments))))
        return save(folder, replace(moment(step), strategy=strategy), share, ranks, publishing)

    return together(world_size, act)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its digest, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def tools() -> Any:
    """The functions of this file, for tests."""
    from types import SimpleNamespace

    return SimpleNamespace(save_all=save_all, state_of=state_of, together=together, moment=moment, tree=tree)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two checkpoints, of steps 10 and 20, in three shards each."""
    root = tmp_path / "checkpoints"
    for step in (10, 20):
        for said in save_all(root, step, seed=step):
            assert isinstance(said, Manifest), said
    return root
