"""Who proposes configurations: Ray Tune's generator of variants, and its Optuna searcher. No Ray cluster is needed.

A searcher is a function of its seed and of what it was told, in order: the same calls give the same proposals.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from biodist.config.space import Settings, applies, dependent_last, grid, pruned
from biodist.config.sweep import Dimension, Sweep
from biodist.errors import MachineCannot

STEP = "training_iteration"  # what Tune calls the time of a report; here a step
INSTALL = "sweeps need Ray Tune and Optuna: pip install 'biodist[sweeps]'"


class Searcher(Protocol):
    """Proposals count from 1."""

    def propose(self, proposal: int) -> Settings | None:
        """The settings of the next configuration; None where there is none left."""

    def report(self, proposal: int, step: int, value: float) -> None:
        """A score of it that is not its last."""

    def complete(self, proposal: int, value: float | None, failed: bool) -> None:
        """It is over: with its score, or without one because it was stopped or has failed."""


def searcher_of(sweep: Sweep) -> Searcher:
    """The searcher that a sweep asks for, at its beginning. Raises MachineCannot where a library is missing."""
    quieten()
    if sweep.search.searcher == "grid":
        return Drawn(grid(sweep.space))
    if sweep.search.searcher == "random":
        return Drawn(_random(sweep))
    return Tpe(sweep)


def quieten() -> None:
    """Ray tells nobody of its use, and neither library writes to the terminal. Raises MachineCannot without them."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import optuna
        import ray.tune  # noqa: F401
    except ImportError as error:
        raise MachineCannot(f"{error.name} is not installed here; {INSTALL}") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"optuna\..*")
    warnings.filterwarnings("ignore", module=r"ray\..*")


class Drawn:
    """Configurations that depend on nothing that was learnt meanwhile: a grid, or random draws."""

    def __init__(self, settings: Iterator[Settings]) -> None:
        self._rest = settings
        self._drawn: list[Settings] = []

    def propose(self, proposal: int) -> Settings | None:
        while len(self._drawn) < proposal:
            settings = next(self._rest, None)
            if settings is None:
                return None
            self._drawn.append(settings)
        return self._drawn[proposal - 1]

    def report(self, proposal: int, step: int, value: float) -> None:
        pass

    def complete(self, proposal: int, value: float | None, failed: bool) -> None:
        pass


class Tpe:
    """Optuna's TPE sampler behind Tune's searcher, with a study of its own in memory: the ledger keeps it."""

    def __init__(self, sweep: Sweep) -> None:
        from ray.tune.search.optuna import OptunaSearch

        self._space, self._metric = sweep.space, sweep.metric
        self._search = OptunaSearch(
            space=lambda trial: _suggested(trial, self._space),
            metric=sweep.metric,
            mode=sweep.mode,
            seed=sweep.search.seed,
        )
        self._proposed: dict[int, Settings] = {}

    def propose(self, proposal: int) -> Settings | None:
        if proposal not in self._proposed:
            drawn = self._search.suggest(str(proposal))
            self._proposed[proposal] = _named(self._space, {key: drawn[key] for key in self._space if key in drawn})
        return self._proposed[proposal]

    def report(self, proposal: int, step: int, value: float) -> None:
        self._search.on_trial_result(str(proposal), {STEP: step, self._metric: value})

    def complete(self, proposal: int, value: float | None, failed: bool) -> None:
        result = None if value is None else {self._metric: value}
        self._search.on_trial_complete(str(proposal), result=result, error=failed)


def _suggested(trial: Any, space: Mapping[str, Dimension]) -> None:
    """Asks Optuna for every key that applies. Listed values go by their number: they may be of any kind."""
    drawn: dict[str, Any] = {}
    for key in dependent_last(space):
        dimension = space[key]
        if not applies(dimension, drawn):
            continue
        match dimension.kind:
            case "uniform":
                drawn[key] = trial.suggest_float(key, *dimension.values)
            case "loguniform":
                drawn[key] = trial.suggest_float(key, *dimension.values, log=True)
            case "randint":
                drawn[key] = trial.suggest_int(key, *dimension.values)
            case _:
                place = trial.suggest_categorical(key, list(range(len(dimension.values))))
                drawn[key] = dimension.values[place]


def _random(sweep: Sweep) -> Iterator[Settings]:
    """Tune's variants, drawn without end."""
    import numpy
    from ray.tune.search.variant_generator import generate_variants

    random = numpy.random.RandomState(sweep.search.seed)
    domains = {key: _domain(dimension) for key, dimension in sweep.space.items()}
    while True:
        for variant, _ in generate_variants(domains, random_state=random):
            drawn = {path[0]: _plain(value) for path, value in variant.items()}
            yield pruned(sweep.space, _named(sweep.space, drawn))


def _domain(dimension: Dimension) -> Any:
    from ray import tune

    match dimension.kind:
        case "uniform":
            return tune.uniform(*dimension.values)
        case "loguniform":
            return tune.loguniform(*dimension.values)
        case "randint":
            low, high = dimension.values
            return tune.randint(low, high + 1)
        case _:
            return tune.choice(list(range(len(dimension.values))))


def _named(space: Mapping[str, Dimension], drawn: Mapping[str, Any]) -> Settings:
    """Listed values in the place of their numbers."""
    return {key: space[key].values[value] if space[key].is_listed else value for key, value in drawn.items()}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
