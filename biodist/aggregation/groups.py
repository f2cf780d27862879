"""Runs that share the values of some settings, reduced to one curve with its spread."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from biodist.aggregation.run_view import RunView, Scalar
from biodist.aggregation.series import Series, Steps, Values
from biodist.errors import Problem, UserError

Number = TypeVar("Number", np.int64, np.float64)

NONE = "none"  # how a label says that a run has no such setting


@dataclass(frozen=True, eq=False)
class Band:
    """One tag over the runs of a group, at each step that any of them has.

    `steps` and `count` int64[n]; `mean`, `sd` (of the sample: n - 1; NaN where `count` is 1), `min`, `max` and `times`
    (UNIX seconds, the latest) float64[n]. A run that has ended, or did not measure at a step, is not counted there.
    """

    steps: Steps
    count: Steps
    mean: Values
    sd: Values
    min: Values
    max: Values
    times: Values

    def series(self) -> dict[str, Series]:
        """By statistic; `sd` where it is defined."""
        several = self.count > 1
        return {
            "mean": Series(self.steps, self.mean, self.times),
            "sd": Series(self.steps[several], self.sd[several], self.times[several]),
            "min": Series(self.steps, self.min, self.times),
            "max": Series(self.steps, self.max, self.times),
            "count": Series(self.steps, self.count.astype(np.float64), self.times),
        }


@dataclass(frozen=True)
class Group:
    """Runs alike in `settings`."""

    label: str
    settings: Mapping[str, Scalar | None]
    members: tuple[str, ...]  # names of runs


@dataclass(frozen=True)
class ReducedGroup:
    """A group and its bands by tag."""

    group: Group
    bands: Mapping[str, Band]


class Reduction:
    """Takes in one series after another and holds no more than their sums.

    Means and squared deviations are merged by Chan, Golub and LeVeque's formula, so that the spread of nearly equal
    values survives: https://doi.org/10.2307/2683386.
    """

    def __init__(self) -> None:
        self._steps = np.empty(0, np.int64)
        self._count = np.empty(0, np.int64)
        self._mean, self._squares = np.empty(0), np.empty(0)
        self._min, self._max, self._times = np.empty(0), np.empty(0), np.empty(0)

    def add(self, series: Series) -> None:
        """One more run."""
        one = Reduction()
        one._steps, one._times = series.steps, series.times
        one._count, one._squares = np.ones(len(series), np.int64), np.zeros(len(series))
        one._mean = one._min = one._max = series.values
        self.merge(one)

    def merge(self, other: Reduction) -> None:
        """All runs of another reduction."""
        at = self._places(other._steps)
        before, more = self._count[at], other._count
        # Infinite and undefined values (a loss that diverged) stay visible in the mean; that is no mistake to warn of.
        with np.errstate(invalid="ignore", over="ignore"):
            gap = other._mean - self._mean[at]
            self._mean[at] += gap * (more / (before + more))
            self._squares[at] += other._squares + gap * gap * (before * more / (before + more))
        self._count[at] += more
        self._min[at] = np.minimum(self._min[at], other._min)
        self._max[at] = np.maximum(self._max[at], other._max)
        self._times[at] = np.maximum(self._times[at], other._times)

    def columns(self) -> tuple[NDArray[np.int64], Values]:
        """All there is to know of it: int64[2, n] (steps, counts) and float64[5, n]."""
        floats = (self._mean, self._squares, self._min, self._max, self._times)
        return np.stack([self._steps, self._count]), np.stack(floats)

    @classmethod
    def of(cls, whole: NDArray[np.int64], floats: Values) -> Reduction:
        """The same again from its columns."""
        made = cls()
        made._steps, made._count = whole
        made._mean, made._squares, made._min, made._max, made._times = floats
        return made

    def _places(self, steps: Steps) -> Steps | slice:
        """Where these steps stand; those that are new are added."""
        if np.array_equal(steps, self._steps):
            return slice(None)
        union = np.union1d(self._steps, steps)
        if len(union) > len(self._steps):
            self._widen(union)
        return np.searchsorted(self._steps, steps)

    def _widen(self, steps: Steps) -> None:
        old, size = np.searchsorted(steps, self._steps), len(steps)

        def wide(column: NDArray[Number], empty: float) -> NDArray[Number]:
            new = np.full(size, empty, column.dtype)
            new[old] = column
            return new

        self._count = wide(self._count, 0)
        self._mean, self._squares = wide(self._mean, 0.0), wide(self._squares, 0.0)
        self._min, self._max = wide(self._min, np.inf), wide(self._max, -np.inf)
        self._times, self._steps = wide(self._times, 0.0), steps

    def band(self) -> Band:
        """What all of them come to."""
        with np.errstate(invalid="ignore", divide="ignore"):
            sd = np.sqrt(self._squares / (self._count - 1))
        sd = np.where(self._count > 1, sd, np.nan)
        return Band(self._steps, self._count, self._mean, sd, self._min, self._max, self._times)


def group_runs(settings: Mapping[str, Mapping[str, Scalar]], keys: Sequence[str]) -> list[Group]:
    """The groups of runs (settings by name of the run) that agree in all `keys`, by label.

    Raises UserError that lists every key that no run has.
    """
    _check(settings, keys)
    members: dict[str, list[str]] = {}
    values: dict[str, dict[str, Scalar | None]] = {}
    for name, own in settings.items():
        label = ", ".join(f"{key}={written(own.get(key))}" for key in keys)
        members.setdefault(label, []).append(name)
        values.setdefault(label, {key: own.get(key) for key in keys})
    return [Group(label, values[label], tuple(members[label])) for label in sorted(members)]


def reduce_by(runs: Iterable[RunView], keys: Sequence[str]) -> list[ReducedGroup]:
    """The groups of `runs` by the settings `keys`, and the bands of every tag that a member has.

    Raises UserError that lists every key that no run has.
    """
    views = {run.name: run for run in runs}
    groups = group_runs({name: run.settings for name, run in views.items()}, keys)
    return [ReducedGroup(group, bands(views[name].series for name in group.members)) for group in groups]


def bands(runs: Iterable[Mapping[str, Series]]) -> dict[str, Band]:
    """Every tag over the runs that have it."""
    return {tag: reduction.band() for tag, reduction in reductions(runs).items()}


def reductions(runs: Iterable[Mapping[str, Series]]) -> dict[str, Reduction]:
    """The same before it is done, to be merged with others."""
    found: dict[str, Reduction] = {}
    for series in runs:
        for tag, one in series.items():
            found.setdefault(tag, Reduction()).add(one)
    return found


def merged(parts: Iterable[Mapping[str, Reduction]]) -> dict[str, Reduction]:
    """What several parts of a group come to."""
    whole: dict[str, Reduction] = {}
    for part in parts:
        for tag, reduction in part.items():
            whole.setdefault(tag, Reduction()).merge(reduction)
    return whole


def written(value: Scalar | None) -> str:
    """A setting's value as a label has it."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check(settings: Mapping[str, Mapping[str, Scalar]], keys: Sequence[str]) -> None:
    known = sorted({key for own in settings.values() for key in own})
    problems = []
    for key in keys:
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, 1, 0.6) or [k for k in known if k.endswith(f".{key}")][:1]
        do = f"did you mean {near[0]}?" if near else "name a key of the recipe, train.learning_rate"
        problems.append(Problem(f"--group-by {key}", "no run has this setting", do))
    if problems:
        raise UserError(problems)
