"""ZeRO-3's weights in memory that the ranks share, between two and three real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biodist.plan.plan import Plan

BITS = ("losses", "norms", "digests")


@pytest.fixture
def trained(plans: Callable[..., Plan], run_jobs: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """What each of these ways to share says of its steps."""

    def run(world_size: int, *ways: str, layers: int = 2, **job: Any) -> dict[str, Any]:
        plan = plans(world_size, strategy="zero3", micro_batch=4, layers=layers)
        said = run_jobs([{"name": way, "plan": plan, "until": 8, "least": 1, "weights": way, **job} for way in ways])
        assert [said[way]["error"] for way in ways] == [None] * len(ways)
        return said

    return run


@pytest.mark.parametrize("world_size", [2, 3])
def test_nothing_is_gathered_and_the_bits_are_those_of_gathering(
    world_size: int, trained: Callable[..., dict[str, Any]]
) -> None:
    said = trained(world_size, "shared", "apart")
    assert said["shared"]["gathered"] == 0 < said["apart"]["gathered"]
    assert said["shared"]["notice"] is None
    assert said["apart"]["notice"].startswith("the processes share no memory here, so zero3 gathers weights in each")
    for name in BITS:
        assert said["shared"][name] == said["apart"][name], name


def test_a_checkpoint_is_loaded_after_scoring(trained: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """As at the end of a run whose best step is not the last. With so many layers DeepSpeed has asked for weights of a
    backward pass that never comes."""
    said = trained(2, "shared", layers=12, saves={"4": str(tmp_path)}, back=str(tmp_path))["shared"]
    for name in BITS:
        assert said[name][8:] == said[name][4:8], name


def test_weights_that_are_updated_and_not_shown_are_caught(trained: Callable[..., dict[str, Any]]) -> None:
    """Sabotage: what the first update of a warm-up does is nothing, then every loss is another."""
    said = trained(2, "shared", "stale")
    right, wrong = said["shared"]["losses"], said["stale"]["losses"]
    assert right[:2] == wrong[:2]
    assert all(one != other for one, other in zip(right[2:], wrong[2:], strict=True))
