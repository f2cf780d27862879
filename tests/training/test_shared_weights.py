"""ZeRO-3's weights in memory that the ranks share, between two and three real processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from biodist.plan.plan import Plan

BITS = ("losses", "norms", "digests")


@pytest.fixture
def trained(plans: Callable[..., Plan], run_jobs: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """What each of these ways to share says of its steps."""

    def run(world_size: int, *ways: str, **job: Any) -> dict[str, Any]:
        plan = plans(world_size, strategy="zero3", micro_batch=4)
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
    for name in BITS:
        assert said["shared"][name] == said["apart"][name], name


def test_weights_that_are_updated_and_not_shown_are_caught(trained: Callable[..., dict[str, Any]]) -> None:
    """Sabotage: what the first update of a warm-up does is nothing, then every loss is another."""
    said = trained(2, "shared", "stale")
    right, wrong = said["shared"]["losses"], said["stale"]["losses"]
    assert right[:2] == wrong[:2]
    assert all(one != other for one, other in zip(right[2:], wrong[2:], strict=True))
