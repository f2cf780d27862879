"""Frozen parameters, buffers and fp16's loss scale travel with the rest, under every strategy.

The engines are real. fp16 is forced on a CPU, where the plan would choose bf16.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biodist.checkpoint.manifest import Manifest
from biodist.checkpoint.reading import Checkpoint, checkpoints_in, problems_of
from biodist.plan.plan import Plan
from biodist.training.loss_scale import FIRST

pytestmark = pytest.mark.timeout(400)
STRATEGIES = ("ddp", "zero1", "zero2", "zero3")
# A large one, and small ones that ZeRO-3 keeps gathered beside their slices.
FROZEN = (
    "bert.embeddings.word_embeddings.weight",
    "bert.embeddings.LayerNorm.weight",
    "bert.encoder.layer.0.attention.self.query.bias",
)
ROUNDS = [*zip(STRATEGIES, STRATEGIES, strict=True), ("ddp", "zero3"), ("zero3", "zero2"), ("zero1", "ddp")]
AT, END = 4, 7
TOO_LARGE = 2.0**34  # no gradient fits into fp16: the first steps are skipped
Jobs = list[dict[str, Any]]


def lives(kind: str, plan: Callable[[str], Plan], root: Path, **more: Any) -> Jobs:
    """Every strategy's first life, and each round's second, which saves at once what it was given."""

    def job(name: str, strategy: str) -> dict[str, Any]:
        saves = {str(step): str(root / f"{kind}-{name}@{step}") for step in (AT, END)}
        return {"name": f"{kind}-{name}", "plan": plan(strategy), "until": END, "saves": saves, **more}

    first = [job(strategy, strategy) for strategy in STRATEGIES]
    return first + [{**job(f"{a}>{b}", b), "load": str(root / f"{kind}-{a}@{AT}")} for a, b in ROUNDS]


def in_fp16(plan: Plan) -> Plan:
    autocast = {"enabled": True, "dtype": "float16", "lower_precision_safe_modules": []}
    deepspeed = plan.deepspeed and {**plan.deepspeed, "torch_autocast": autocast}
    return plan.model_copy(update={"precision": "fp16", "deepspeed": deepspeed})


class Lives:
    """What became of the jobs, and their checkpoints."""

    def __init__(self, root: Path, said: dict[str, Any]):
        self.root, self.said = root, said
        assert {name: one["error"] for name, one in said.items() if one["error"]} == {}

    def checkpoint(self, name: str, step: int) -> Checkpoint:
        (found,) = checkpoints_in(self.root / f"{name}@{step}")
        assert problems_of(found.folder) == []
        return found

    def manifest(self, name: str, step: int) -> Manifest:
        return self.checkpoint(name, step).manifest

    def values(self, name: str, step: int) -> dict[str, bytes]:
        """Every tensor of a checkpoint, and what the manifest says of the scaler."""
        checkpoint = self.checkpoint(name, step)
        found = {f"buffer/{n}": checkpoint.read_buffer(n).tobytes() for n in checkpoint.manifest.buffers}
        for parameter, pieces in checkpoint.manifest.parameters.items():
            for part in ("weight",) if pieces.frozen else ("weight", "exp_avg", "exp_avg_sq"):
                found[f"{part}/{parameter}"] = b"".join(
                    chunk.tobytes() for chunk in checkpoint.read(part, parameter, 0, pieces.count)
                )
        return {**found, "scaler": repr(checkpoint.manifest.scaler).encode()}

    def told(self, name: str) -> list[Any]:
        """Losses and norms after the checkpoint."""
        return [self.said[name][kind][AT - END :] for kind in ("losses", "norms", "digests")]


@pytest.fixture(scope="module")
def at_two(plans: Callable[..., Plan], run_jobs: Callable[..., dict[str, Any]], tmp_path_factory: Any) -> Lives:
    root = tmp_path_factory.mktemp("whole")

    def plan(strategy: str) -> Plan:
        return plans(2, strategy=strategy, dropout=0.1)

    jobs = lives("frozen", plan, root, frozen=FROZEN, counts=True)
    jobs += lives("fp16", lambda strategy: in_fp16(plan(strategy)), root, scale=TOO_LARGE)
    return Lives(root, run_jobs(jobs, limit_s=300))


@pytest.mark.parametrize("kind", ["frozen", "fp16"])
@pytest.mark.parametrize(("one", "other"), ROUNDS)
def test_everything_arrives_to_the_bit(at_two: Lives, kind: str, one: str, other: str) -> None:
    given, arrived = at_two.values(f"{kind}-{one}", AT), at_two.values(f"{kind}-{one}>{other}", AT)
    assert given.keys() == arrived.keys()
    assert [name for name in given if given[name] != arrived[name]] == []
    first, second = (at_two.checkpoint(f"{kind}-{name}", AT) for name in (one, f"{one}>{other}"))
    assert first.weights_sha256() == second.weights_sha256()


@pytest.mark.parametrize("kind", ["frozen", "fp16"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_strategy_goes_on_to_the_bit(at_two: Lives, kind: str, strategy: str) -> None:
    name = f"{kind}-{strategy}"
    assert at_two.told(f"{name}>{strategy}") == at_two.told(name)
    assert at_two.values(f"{name}>{strategy}", END) == at_two.values(name, END)


@pytest.mark.parametrize(("one", "other"), ROUNDS)
def test_other_strategies_compute_with_what_arrived(at_two: Lives, one: str, other: str) -> None:
    losses, norms, digests = at_two.told(f"frozen-{one}")
    now = at_two.told(f"frozen-{one}>{other}")
    assert now[0] == pytest.approx(losses, rel=1e-4, abs=0) and now[1] == pytest.approx(norms, rel=1e-3, abs=0)
    assert now[2] == digests


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_frozen_parameters_have_weights_alone_and_do_not_move(at_two: Lives, strategy: str) -> None:
    for step in (AT, END):
        manifest = at_two.manifest(f"frozen-{strategy}", step)
        assert {name for name, pieces in manifest.parameters.items() if pieces.frozen} == set(FROZEN)
    start, end = at_two.values(f"frozen-{strategy}", AT), at_two.values(f"frozen-{strategy}", END)
    same = {name.removeprefix("weight/") for name in start if name.startswith("weight/") and start[name] == end[name]}
    assert same == set(FROZEN)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_buffer_goes_on_counting(at_two: Lives, strategy: str) -> None:
    manifest = at_two.manifest(f"frozen-{strategy}", END)
    assert {name: (b.dtype, b.shape) for name, b in manifest.buffers.items()} == {"passes": ("I64", ())}
    name = f"frozen-{strategy}"
    counts = [self_of(at_two, life, step) for life in (name, f"{name}>{strategy}") for step in (AT, END)]
    assert counts[:2] == counts[2:]
    assert AT <= counts[0] < counts[1], counts


def self_of(at_two: Lives, name: str, step: int) -> int:
    """What the model counted."""
    return int(at_two.checkpoint(name, step).read_buffer("passes").view(np.int64)[0])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_scale_that_is_too_large_falls_and_its_steps_are_skipped(at_two: Lives, strategy: str) -> None:
    said = at_two.said[f"fp16-{strategy}"]
    scaler = at_two.manifest(f"fp16-{strategy}", END).scaler
    assert scaler is not None
    skipped = [norm == float("inf") for norm in said["norms"]]
    assert skipped[0]
    assert scaler.scale == TOO_LARGE / 2.0 ** sum(skipped) != FIRST
    assert scaler.good_steps == skipped[::-1].index(True)
    assert at_two.manifest(f"frozen-{strategy}", END).scaler is None
