"""Proposals are a function of the seed and of what the searcher was told."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest

from biodist.config.space import Settings, written
from biodist.config.sweep_loading import StatedSweep
from biodist.sweeps.schedulers import Pace, Scheduler, expected_share
from biodist.sweeps.searchers import Searcher, searcher_of


def told(searcher: Searcher, proposals: int, value: Callable[[Settings], float]) -> list[Settings]:
    """What is proposed, one after another, each told its value before the next."""
    found = []
    for proposal in range(1, proposals + 1):
        settings = searcher.propose(proposal)
        assert settings is not None
        found.append(settings)
        searcher.report(proposal, 10, value(settings) / 2)
        searcher.complete(proposal, value(settings), failed=False)
    return found


def rate(settings: Settings) -> float:
    return -abs(float(settings["train.learning_rate"]) - 1e-3)


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_the_same_seed_and_the_same_values_give_the_same(stated: Callable[..., StatedSweep], searcher: str) -> None:
    one, other = (searcher_of(stated(f"search.searcher={searcher}").sweep) for _ in range(2))
    assert told(one, 20, rate) == told(other, 20, rate)
    unlike = searcher_of(stated(f"search.searcher={searcher}", "search.seed=8").sweep)
    assert told(unlike, 3, rate) != told(searcher_of(stated(f"search.searcher={searcher}").sweep), 3, rate)


def test_tpe_learns_and_random_does_not(stated: Callable[..., StatedSweep]) -> None:
    """What TPE proposes depends on what it is told; random draws do not."""

    def against(settings: Settings) -> float:
        return -rate(settings)

    for searcher, learns in {"tpe": True, "random": False}.items():
        one, other = (searcher_of(stated(f"search.searcher={searcher}").sweep) for _ in range(2))
        assert (told(one, 20, rate) != told(other, 20, against)) is learns


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_a_key_is_there_only_where_it_applies(stated: Callable[..., StatedSweep], searcher: str) -> None:
    found = told(searcher_of(stated(f"search.searcher={searcher}").sweep), 30, rate)
    assert all(("train.warmup_ratio" in one) == (one["train.schedule"] != "constant") for one in found)
    assert {one["train.schedule"] for one in found} == {"linear", "cosine", "constant"}
    assert all(1e-4 <= one["train.learning_rate"] <= 1e-2 for one in found)


def test_whole_numbers_reach_both_ends(stated: Callable[..., StatedSweep]) -> None:
    for searcher in ("random", "tpe"):
        words = ("space={train.learning_rate: {choice: [1e-3]}, train.global_batch: {randint: [3, 5]}}",)
        found = told(searcher_of(stated(*words, f"search.searcher={searcher}").sweep), 40, rate)
        assert {one["train.global_batch"] for one in found} == {3, 4, 5}
        assert {written(one["train.global_batch"]) for one in found} == {"3", "4", "5"}


def test_a_grid_ends(stated: Callable[..., StatedSweep]) -> None:
    words = ("space={train.learning_rate: {grid: [1e-3, 1e-2]}, train.schedule: {choice: [linear, cosine]}}",)
    searcher = searcher_of(stated(*words, "search.searcher=grid", "search.trials=null").sweep)
    found = [searcher.propose(number) for number in range(1, 6)]
    assert found[4] is None and len({written(list(one.values())) for one in islice(found, 4) if one}) == 4


def test_asha_decides_at_its_rungs(stated: Callable[..., StatedSweep]) -> None:
    """Rungs at 10 and 30 of 90 steps. The first goes on, and who is in the best third so far."""
    scheduler = Scheduler(stated("search.scheduler=asha").sweep, Pace(10, 90))
    for trial in range(6):
        scheduler.add(str(trial))
    first = [scheduler.stops(str(trial), 10, value) for trial, value in enumerate([0.5, 0.1, 0.6, 0.55, 0.2, 0.9])]
    assert first == [False, True, False, False, True, False]
    assert not scheduler.stops("0", 20, 0.0), "between two rungs nothing is decided"
    assert not scheduler.stops("5", 30, 0.9) and scheduler.stops("0", 30, 0.5)


def test_nobody_is_stopped_by_nobody(stated: Callable[..., StatedSweep]) -> None:
    scheduler = Scheduler(stated("search.scheduler=none").sweep, Pace(10, 40))
    assert not any(scheduler.stops(str(trial), 10, -trial) for trial in range(20))


def test_the_median_rule_stops_the_worse_half(stated: Callable[..., StatedSweep]) -> None:
    scheduler = Scheduler(stated("search.scheduler=median", "search.min_trials=3").sweep, Pace(10, 40))
    said = [scheduler.stops(str(trial), 10, value) for trial, value in enumerate([0.5, 0.6, 0.7, 0.2, 0.9])]
    assert said == [False, False, False, True, False]


def test_the_expected_share_of_steps(stated: Callable[..., StatedSweep]) -> None:
    assert expected_share(stated("search.scheduler=none").sweep, Pace(10, 90)) == 1
    # All to 10, a third to 30, a ninth to 90.
    assert expected_share(stated("search.scheduler=asha").sweep, Pace(10, 90)) == pytest.approx(
        (10 + 20 / 3 + 60 / 9) / 90
    )
    assert expected_share(stated("search.scheduler=median").sweep, Pace(10, 90)) == pytest.approx((10 + 40) / 90)
