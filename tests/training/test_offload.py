"""The optimizer's state on the CPU (``distributed.offload: cpu``): DeepSpeed's own Adam under zero2 and zero3."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biodist.checkpoint.reading import Checkpoint, checkpoints_in
from biodist.plan.plan import Plan

pytestmark = pytest.mark.timeout(600)  # what DeepSpeed compiles once may have to be compiled first
# The step a checkpoint is made at, in the second half of an epoch, and the last one. In fp32 the twelfth power of 0.9
# is another number multiplied up than as a power; that of many other steps is not, and a jump there shows nothing.
AT, END = 11, 14
OFFLOADED, OTHERS = ("zero2", "zero3"), ("ddp", "zero1", "zero2", "zero3")
DECAY = 0.5  # so strong that a parameter decayed in the wrong group is far off after three steps


def name_of(strategy: str, offload: bool) -> str:
    return f"{strategy}+cpu" if offload else strategy


ALL = [name_of(one, False) for one in OTHERS] + [name_of(one, True) for one in OFFLOADED]
Pair = tuple[str, str]
PAIRS: list[Pair] = [(one, other) for one, other in product(ALL, ALL) if "+cpu" in one or "+cpu" in other]
OWN: list[Pair] = [(one, one) for one in ALL if "+cpu" in one]
CHOSEN: list[Pair] = [
    *OWN,
    ("ddp", "zero3+cpu"),
    ("zero2+cpu", "ddp"),
    ("zero3", "zero2+cpu"),
    ("zero2+cpu", "zero3+cpu"),
]


class Lives:
    """Jobs on two processes, dropout on, several micro-batches a step, and their checkpoints."""

    def __init__(self, plans: Callable[..., Plan], run_jobs: Callable[..., Any], root: Path, pairs: list[Pair]):
        def job(name: str, of: str, load: str | None = None) -> dict[str, Any]:
            strategy, _, offload = of.partition("+")
            plan = plans(2, strategy=strategy, offload=offload or "none", dropout=0.1, weight_decay=DECAY)
            saves = {str(step): str(root / f"{name}@{step}") for step in (AT, END)}
            return {"name": name, "plan": plan, "until": END, "saves": saves} | (
                {"load": str(root / f"{load}@{AT}")} if load else {}
            )

        jobs = [job(name, name) for name in ALL] + [job(f"{a}>{b}", b, load=a) for a, b in pairs]
        jobs += [{**job(f"{a}>jump", a, load=a), "tamper": "jump"} for a, _ in OWN]
        self.root, self.said = root, run_jobs(jobs, limit_s=400)
        assert {name: one["error"] for name, one in self.said.items() if one["error"]} == {}

    def checkpoint(self, name: str, step: int) -> Checkpoint:
        (found,) = checkpoints_in(self.root / f"{name}@{step}")
        return found

    def losses(self, name: str) -> list[float]:
        """Of the steps after the checkpoint."""
        losses: list[float] = self.said[name]["losses"][AT - END :]
        return losses

    def assert_travelled(self, one: str, other: str) -> None:
        """The state to the bit, the training to rounding."""
        assert same_bits(self.checkpoint(one, AT), self.checkpoint(f"{one}>{other}", AT))
        assert self.losses(f"{one}>{other}") == pytest.approx(self.losses(one), rel=1e-4, abs=0)


@pytest.fixture(scope="module")
def lives(plans: Callable[..., Plan], run_jobs: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Lives:
    return Lives(plans, run_jobs, tmp_path_factory.mktemp("offload"), CHOSEN)


@pytest.mark.parametrize("strategy", OFFLOADED)
def test_it_trains_as_the_others_do(lives: Lives, strategy: str) -> None:
    """Another implementation of the same Adam: equal to rounding."""
    offloaded, plain = (lives.said[name_of(strategy, offload)] for offload in (True, False))
    assert offloaded["losses"] == pytest.approx(plain["losses"], rel=1e-4, abs=0)
    assert offloaded["norms"] == pytest.approx(plain["norms"], rel=1e-3, abs=0)
    assert offloaded["digests"] == plain["digests"]


@pytest.mark.parametrize(("one", "other"), CHOSEN)
def test_pairs_load(lives: Lives, one: str, other: str) -> None:
    lives.assert_travelled(one, other)


@pytest.mark.full
def test_every_pair_loads(plans: Callable[..., Plan], run_jobs: Callable[..., Any], tmp_path: Path) -> None:
    every = Lives(plans, run_jobs, tmp_path, PAIRS)
    for one, other in PAIRS:
        every.assert_travelled(one, other)


@pytest.mark.parametrize("strategy", OFFLOADED)
def test_it_goes_on_to_the_bit(lives: Lives, strategy: str) -> None:
    name = name_of(strategy, True)
    assert lives.losses(f"{name}>{name}") == lives.losses(name)
    assert same_bits(lives.checkpoint(name, END), lives.checkpoint(f"{name}>{name}", END))


@pytest.mark.parametrize("strategy", OFFLOADED)
def test_a_jump_of_its_counter_would_be_found_out(lives: Lives, strategy: str) -> None:
    """What the comparison above is worth: without the updates made again, other bits, though nothing else shows."""
    name = name_of(strategy, True)
    assert lives.losses(f"{name}>jump") == pytest.approx(lives.losses(name), rel=1e-4, abs=0)
    assert not same_bits(lives.checkpoint(name, END), lives.checkpoint(f"{name}>jump", END))


def same_bits(one: Checkpoint, other: Checkpoint) -> bool:
    """Weights and both moments of every parameter."""
    parameters = one.manifest.parameters
    assert parameters.keys() == other.manifest.parameters.keys()
    return all(
        whole(one, part, name).tobytes() == whole(other, part, name).tobytes()
        for name in parameters
        for part in ("weight", "exp_avg", "exp_avg_sq")
    )


def whole(checkpoint: Checkpoint, part: str, name: str) -> np.ndarray:
    return np.concatenate(list(checkpoint.read(part, name, 0, checkpoint.manifest.parameters[name].count)))
