"""What the seeds of one recipe come to: read from their runs' files alone, and refused where they are not that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from biodist.config.core import core_differences
from biodist.config.loading import load_recipe
from biodist.config.recipe import Recipe
from biodist.errors import Problem, UserError
from biodist.metrics.spread import CONFIDENCE, Spread, spread
from biodist.run.folder import RunFolder, SeedsFolder
from biodist.run.records import Record, Result

_BY_LABEL = ("types", "classes")  # sections of a result's scores: of each entity type, of each class
_COUNTS = frozenset({"support"})  # of the data, the same for every seed


class SeedRun(Record):
    """One seed. ``unfinished``: new, under way, or ended without a word."""

    seed: int
    run: str  # folder, below that of the seeds
    state: Literal["finished", "stopped", "failed", "unfinished"]
    steps: int = 0
    best_step: int | None = None
    weights_sha256: str | None = None


class ScoreSpread(Spread):
    """One score over the seeds that have it."""

    split: str
    score: str
    label: str | None = None  # the entity type or class it is of; None: over all
    values: dict[int, float]  # by seed


class SeedsSummary(Record):
    """What `seeds.json` holds; made of the runs, written whole. Only finished seeds are counted."""

    name: str  # of the recipe
    confidence: float = CONFIDENCE
    interval: Literal["Student's t, of the mean over seeds"] = "Student's t, of the mean over seeds"
    deviation: Literal["of the sample: n - 1"] = "of the sample: n - 1"
    runs: tuple[SeedRun, ...]
    scores: tuple[ScoreSpread, ...]

    @property
    def finished(self) -> tuple[int, ...]:
        """The seeds that are counted."""
        return tuple(run.seed for run in self.runs if run.state == "finished")


@dataclass(frozen=True)
class _Score:
    split: str
    score: str
    label: str | None
    value: float


def summary_of(folder: SeedsFolder) -> SeedsSummary:
    """Reads every run.

    Raises:
        UserError: no seeds are here, or a run is of another recipe or another seed, or is another one's copy.
        RunFailed: a run's result is damaged.
    """
    recipes = _recipes(folder)
    if not recipes:
        what = "holds no run of a seed"
        raise UserError(Problem(str(folder.root), what, "name a folder that `biodist train RECIPE --seeds N` made"))
    first = next(iter(recipes.values()))
    results = {seed: _result(folder.run(seed)) for seed in folder.seeds()}
    if problems := [*_strangers(folder, recipes, first), *_copies(folder, results)]:
        raise UserError(problems)
    finished = {seed: result for seed, result in results.items() if result is not None and result.status == "finished"}
    runs = tuple(_seed_run(folder.run(seed), seed, result) for seed, result in results.items())
    return SeedsSummary(name=first.name, runs=runs, scores=tuple(_spreads(finished)))


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """The same recipe with another seed."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})


def refuse_strangers(folder: SeedsFolder, recipe: Recipe) -> None:
    """All that is in the folder already is of this recipe, whatever its seed. Raises UserError, with every run's."""
    if problems := list(_strangers(folder, _recipes(folder), recipe)):
        raise UserError(problems)


def _recipes(folder: SeedsFolder) -> dict[int, Recipe]:
    """By the seed their folders name; a seed that was not begun has none. Raises UserError."""
    found, problems = dict[int, Recipe](), list[Problem]()
    for seed in folder.seeds():
        run = folder.run(seed)
        if not run.recipe.exists():
            if run.result.exists():
                problems.append(Problem(str(run.root), "has a result, but no recipe.yaml", "restore it, or remove it"))
            continue
        try:
            found[seed] = load_recipe(str(run.recipe), check_files=False)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return found


def _strangers(folder: SeedsFolder, recipes: Mapping[int, Recipe], wanted: Recipe) -> Iterator[Problem]:
    for seed, recipe in recipes.items():
        where = str(folder.run(seed).root)
        if recipe.train.seed != seed:
            what = f"is named for seed {seed}, but its recipe says train.seed: {recipe.train.seed}"
            yield Problem(where, what, "one run counts once: remove it, or give it back its name")
        for difference in core_differences(with_seed(wanted, seed), with_seed(recipe, seed)):
            do = "seeds are compared under one recipe: move this run away, or name another folder with --run"
            yield Problem(where, f"is of another recipe than the others: {difference}", do)


def _copies(folder: SeedsFolder, results: Mapping[int, Result | None]) -> Iterator[Problem]:
    """Two seeds never end with the same weights: one is the other, under a name it was given by hand."""
    weights = sorted((r.weights_sha256, seed) for seed, r in results.items() if r is not None and r.weights_sha256)
    for (one, seed), (other, later) in pairwise(weights):
        if one == other:
            what = f"ended with the very weights of seed {seed}: it is a copy of that run"
            yield Problem(str(folder.run(later).root), what, "one run counts once: remove one of them")


def _result(run: RunFolder) -> Result | None:
    return Result.load(run.result) if run.result.exists() else None


def _seed_run(run: RunFolder, seed: int, result: Result | None) -> SeedRun:
    if result is None:
        return SeedRun(seed=seed, run=run.root.name, state="unfinished")
    kept = {name: getattr(result, name) for name in ("steps", "best_step", "weights_sha256")}
    return SeedRun(seed=seed, run=run.root.name, state=result.status, **kept)


def _spreads(finished: Mapping[int, Result]) -> Iterator[ScoreSpread]:
    values: dict[tuple[str, str, str | None], dict[int, float]] = {}
    for seed, result in finished.items():
        for found in _scores(result.metrics):
            values.setdefault((found.split, found.score, found.label), {})[seed] = found.value
    for (split, score, label), by_seed in values.items():
        of = spread(list(by_seed.values())).model_dump()
        yield ScoreSpread(split=split, score=score, label=label, values=by_seed, **of)


def _scores(metrics: Mapping[str, Any]) -> Iterator[_Score]:
    """Every number of a result's metrics. Tables of counts (a confusion matrix) stay with the run."""
    for split, scores in metrics.items():
        yield from (_Score(split, name, None, value) for name, value in _numbers(scores))
        for section in _BY_LABEL:
            for label, of_label in scores.get(section, {}).items():
                yield from (_Score(split, name, label, value) for name, value in _numbers(of_label))
        for corpus, of_corpus in scores.get("corpora", {}).items():
            yield from (_Score(split, f"{corpus}.{name}", None, value) for name, value in _numbers(of_corpus))


def _numbers(scores: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in scores.items():
        if isinstance(value, int | float) and name not in _COUNTS and math.isfinite(value):
            yield name, float(value)
