"""Who ends trials early: Ray Tune's schedulers, asked without Tune's own loop. Time is counted in steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from biodist.config.sweep import Sweep
from biodist.sweeps.searchers import STEP


@dataclass(frozen=True)
class Pace:
    """How long a trial trains, in steps."""

    first_evaluation: int
    total: int


@dataclass(frozen=True)
class _Trial:
    """What Tune's schedulers want to know of a trial."""

    trial_id: str


class _NoOthers:
    """What the median rule asks Tune's controller for: trials that could run in the place of a paused one."""

    def get_live_trials(self) -> list[_Trial]:
        return []


class Scheduler:
    """Decides after each score whether a trial goes on; a function of the scores it was told, in order."""

    def __init__(self, sweep: Sweep, pace: Pace) -> None:
        self._metric, self._rule = sweep.metric, _rule(sweep, pace)

    def stops(self, key: str, step: int, value: float) -> bool:
        """Whether the trial is to end here."""
        if self._rule is None:
            return False
        result = {STEP: step, self._metric: value}
        return bool(self._rule.on_trial_result(_NoOthers(), _Trial(key), result) == "STOP")

    def add(self, key: str) -> None:
        """A trial begins."""
        if self._rule is not None:
            self._rule.on_trial_add(_NoOthers(), _Trial(key))


def grace_of(sweep: Sweep, pace: Pace) -> int:
    """Steps before which no trial is ended early."""
    return sweep.search.grace_steps or pace.first_evaluation


def _rule(sweep: Sweep, pace: Pace) -> Any:
    search = sweep.search
    common = {"time_attr": STEP, "metric": sweep.metric, "mode": sweep.mode, "grace_period": grace_of(sweep, pace)}
    if search.scheduler == "none":
        return None
    from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule

    if search.scheduler == "median":
        return MedianStoppingRule(min_samples_required=search.min_trials, **common)
    # A trial that has passed a rung has passed it: a later score between two rungs decides nothing.
    return AsyncHyperBandScheduler(
        max_t=max(pace.total, grace_of(sweep, pace)),
        reduction_factor=search.reduction,
        stop_last_trials=False,
        **common,
    )


def expected_share(sweep: Sweep, pace: Pace) -> float:
    """The share of all steps that is trained when every rung keeps one in `reduction`, or the median rule half.

    A rough figure: asynchronous halving lets more through while few trials have reported.
    """
    grace = min(grace_of(sweep, pace), pace.total)
    if sweep.search.scheduler == "none":
        return 1.0
    if sweep.search.scheduler == "median":
        return (grace + (pace.total - grace) / 2) / pace.total
    share, kept, rung = 0.0, 1.0, 0.0
    upto: float = grace
    while True:
        share += kept * (min(upto, pace.total) - rung) / pace.total
        if upto >= pace.total:
            return share
        rung, upto, kept = upto, upto * sweep.search.reduction, kept / sweep.search.reduction
