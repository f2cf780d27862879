"""Sums and gathers of ZeRO on CPUs: those of gloo, between two and three real processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from biodist.errors import RunFailed
from biodist.plan.plan import Plan
from biodist.training.engine import _dealt
from biodist.training.exchange import NodeMemory
from biodist.training.worker import CONNECTION_WORDS
from biodist.training.zero_exchange import _as_one, _norm, _require

SHARING = Path(__file__).with_name("sharing.py")
SLOT = 1000


@pytest.fixture
def share(plans: Callable[..., Plan], group: Callable[[], Any]) -> Callable[..., list[Any]]:
    def run(world_size: int, wrong: str = "") -> list[Any]:
        plan = plans(world_size, strategy="zero2")
        argument = {"plan": plan.model_dump(mode="json"), "slot": SLOT, "wrong": wrong}
        results: list[Any] = group().run(SHARING, plan, argument)
        return results

    return run


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_collective_gives_what_gloo_gives(world_size: int, share: Callable[..., list[Any]]) -> None:
    """In shared memory, between machines, and where one rank cannot see the memory: the same bits."""
    here, apart, wire = (share(world_size, wrong) for wrong in ("", "apart", "wire"))
    for ranks in (here, apart, wire):
        for said in ranks:
            assert [name for name, same in said["same"].items() if not same] == []
            assert len(said["same"]) == 24
    assert [said["shared"] for said in here + apart + wire] == [True] * world_size + [False] * 2 * world_size
    for here_said, apart_said, wire_said in zip(here, apart, wire, strict=True):
        assert here_said["bits"] == apart_said["bits"] == wire_said["bits"]
        assert set(here_said["files"]) == {"/memfd:biodist (deleted)"}, "mappings, without a name in any file system"
        assert apart_said["files"] == [], "what was opened for nothing is closed"


def test_ranks_that_do_not_wait_are_caught(share: Callable[..., list[Any]]) -> None:
    """The sabotage: without the barriers a rank reads what was in the slots before."""
    hasty = share(2, wrong="early")[0]
    assert not any(same for name, same in hasty["same"].items() if name.endswith("12345"))


def test_a_rank_that_is_killed_is_noticed_by_the_other(plans: Callable[..., Plan], group: Callable[[], Any]) -> None:
    plan, ranks = plans(2, strategy="zero2"), group()
    ranks.folder.mkdir(parents=True)
    argument = {"plan": plan.model_dump(mode="json"), "slot": SLOT, "wrong": "gone"}
    (ranks.folder / "argument.json").write_text(json.dumps(argument))
    left, killed = (ranks._start(SHARING, plan, rank, 2) for rank in range(2))
    try:
        assert killed.wait(timeout=100) == -signal.SIGKILL
        left.wait(timeout=plan.recipe.distributed.timeout_s / 2)
    finally:
        left.kill()
    said = json.loads((ranks.folder / "result-0.json").read_text())
    assert any(words in said["error"].lower() for words in CONNECTION_WORDS), "a consequence, not a cause"


def test_ranks_with_other_sizes_are_refused(share: Callable[..., list[Any]]) -> None:
    for said in share(2, wrong="sizes"):
        assert said["error"] == ("the ranks came to share tensors of different sizes: rank 0: [5000]; rank 1: [5001]")


@pytest.mark.parametrize("world_size", [2, 3])
def test_zero_trains_through_it(
    world_size: int, plans: Callable[..., Plan], run_jobs: Callable[..., dict[str, Any]]
) -> None:
    """Every sum and gather, in one micro-batch and in several: the losses are those of ddp, which gloo serves. Where a
    new version of DeepSpeed goes another way, nothing is shared, and this fails."""
    cases = [(strategy, micro) for strategy in ("zero1", "zero2", "zero3") for micro in (1, 64)]
    jobs = [
        {"name": f"{strategy} {micro}", "plan": plans(world_size, strategy=strategy, micro_batch=micro), "until": 8}
        for strategy, micro in cases
    ]
    plain = {"name": "ddp", "plan": plans(world_size, micro_batch=64), "until": 8}
    said = run_jobs([plain, *({**job, "least": 1} for job in jobs)])
    for job in jobs:
        one = said[job["name"]]
        assert one["error"] is None and one["shared"] >= 8, job["name"]  # gradients, at least once a step
        assert one["losses"] == pytest.approx(said["ddp"]["losses"], rel=1e-4), job["name"]
        assert one["norms"] == pytest.approx(said["ddp"]["norms"], rel=1e-3), job["name"]


def test_other_tensors_are_left_to_gloo() -> None:
    large = torch.zeros(2**15)
    takes = NodeMemory.takes.__get__(object.__new__(NodeMemory))
    assert takes(large) and takes(torch.zeros(1), large)
    assert not takes(torch.zeros(16))
    assert not takes(large.to(torch.bfloat16)) and not takes(large.view(2, -1).T)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_every_owner_has_as_much_of_each_layer(world_size: int) -> None:
    layer = [64, 64, 64, 64, 256, 256, 4, 4]
    sizes = [4096, *layer * 12, 16]
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in sizes]
    number = {id(parameter): at for at, parameter in enumerate(parameters)}

    def unevenness(order: list[torch.nn.Parameter]) -> int:
        """How much more of two layers than of other two a process owns, at most."""
        whose = [(number[id(parameter)] - 1) // len(layer) for parameter in order for _ in range(parameter.numel())]
        parts = np.array_split(np.array(whose), world_size)
        owned = np.array([[(part // 2 == two).sum() for two in range(6)] for part in parts])
        return int((owned.max(axis=1) - owned.min(axis=1)).max())

    dealt = _dealt(parameters, world_size)
    assert sorted(map(id, dealt)) == sorted(map(id, parameters))
    largest_weight = 256
    assert unevenness(dealt) <= largest_weight < unevenness(parameters)


def test_a_version_of_deepspeed_that_has_other_names_is_refused() -> None:
    with pytest.raises(RunFailed) as refused:
        _require(SimpleNamespace(here=1), ("here", "gone", "lost"))
    assert str(refused.value) == ("this version of DeepSpeed has no gone, lost: install one that pyproject.toml names")


def test_pieces_of_one_memory_are_not_copied() -> None:
    whole = torch.arange(12.0)
    assert (one := _as_one(whole, [whole[2:5], whole[5:9]])) is not None
    assert one.data_ptr() == whole[2:].data_ptr() and one.tolist() == whole[2:9].tolist()
    assert _as_one(whole, [whole[2:5], whole[6:9]]) is None
    assert _as_one(whole, [whole[5:9], whole[2:5]]) is None
    assert _as_one(whole, [torch.zeros(3)]) is None
    assert _as_one(whole, [whole[2:5], torch.zeros(4)]) is None


def test_the_norm_is_that_of_fp64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one rank: padding counts nowhere, and what is not finite is -1."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: None)
    gradients = [torch.randn(size) for size in (3, 70_000, 200_001)]
    padding = torch.ones(5)
    padding._zero_padding = True  # type: ignore[attr-defined]
    exact = torch.cat(gradients).double().norm().float()
    assert torch.equal(_norm([*gradients, padding]), exact)
    assert _norm([gradients[0], torch.tensor([float("inf")])]) == -1 == _norm([torch.tensor([float("nan")])])
