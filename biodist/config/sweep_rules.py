"""Rules between the keys of a sweep, and with the recipe that it searches. Each yields findings; none raises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from biodist.config.document import Document, KeyPath
from biodist.config.findings import Finding, shown_value
from biodist.config.loading import recipe_of
from biodist.config.overrides import overridden
from biodist.config.schema import options, slot_at
from biodist.config.space import Settings, corners, dependent_last, grid_size, overrides, written
from biodist.config.sweep import KINDS, Dimension, Sweep
from biodist.errors import Problem, UserError

MOST_GRID = 10_000
SHOWN_CORNERS = 12  # problems of corners that are listed
_OVERRIDE = "override "
_TAKEN = {
    "name": "the sweep names each trial",
    "evaluate.metric": "the sweep's metric takes its place",
    "evaluate.mode": "the sweep's mode takes its place",
    "evaluate.test": "a sweep never reads the test split; `biodist sweep --promote` does, once",
}


def broken_sweep_rules(sweep: Sweep) -> Iterator[Finding]:
    """Every rule that the sweep breaks by itself."""
    return chain(_dimensions(sweep), _conditions(sweep), _taken(sweep), _budget(sweep))


def fixed(sweep: Sweep) -> tuple[str, ...]:
    """What every trial's recipe has in common, as overrides: what it is scored by, and that no test split is read."""
    return (f"evaluate.metric={written(sweep.metric)}", f"evaluate.mode={sweep.mode}", "evaluate.test=false")


def trial_words(sweep: Sweep, settings: Settings) -> tuple[str, ...]:
    """The overrides of a trial: its settings, then what no setting can undo."""
    return (*overrides(settings), *fixed(sweep))


def space_problems(sweep: Sweep, written_sweep: Document, recipe: Document, check_files: bool) -> list[Problem]:
    """What is wrong between the space and the recipe: unknown keys, values of another type, corners that are no
    recipe, a metric that no trial reports. Each with its place in the sweep's file."""
    keys = list(chain(_unknown_keys(sweep, written_sweep, recipe), _untyped(sweep, written_sweep)))
    if keys:
        return keys
    problems: dict[tuple[str, str], Problem] = {}
    for settings in corners(sweep.space):
        for problem in _of_corner(sweep, settings, written_sweep, recipe, check_files):
            problems.setdefault((problem.where, problem.what.partition(" (with ")[0]), problem)
    return list(problems.values())[:SHOWN_CORNERS]


def _dimensions(sweep: Sweep) -> Iterator[Finding]:
    for key, dimension in sweep.space.items():
        about: KeyPath = ("space", key)
        if len(dimension.kinds) != 1:
            given = " and ".join(dimension.kinds) or "none"
            yield Finding((about,), f"must have one of {', '.join(KINDS)}, but has {given}", "keep one")
            continue
        yield from _range(about, dimension)
        yield from _repeated(about, dimension)
        if (dimension.kind == "grid") != (sweep.search.searcher == "grid") and dimension.kind != "choice":
            searcher = sweep.search.searcher
            what = f"{dimension.kind} is not for searcher {searcher}"
            do = "list the values: choice or grid" if searcher == "grid" else "use choice, or set search.searcher=grid"
            yield Finding((about, ("search", "searcher")), what, do)


def _range(about: KeyPath, dimension: Dimension) -> Iterator[Finding]:
    if dimension.is_listed:
        return
    low, high = dimension.values
    if low >= high:
        yield Finding(((*about, dimension.kind),), f"goes from {low} to {high}", "the first must be below the second")
    if dimension.kind == "loguniform" and low <= 0:
        yield Finding(((*about, dimension.kind),), f"begins at {low}, which has no logarithm", "begin above 0")


def _repeated(about: KeyPath, dimension: Dimension) -> Iterator[Finding]:
    texts = [written(value) for value in dimension.values]
    for text in dict.fromkeys(text for text in texts if dimension.is_listed and texts.count(text) > 1):
        yield Finding(((*about, dimension.kind),), f"lists {shown_value(text)} {texts.count(text)} times", "keep one")


def _conditions(sweep: Sweep) -> Iterator[Finding]:
    ordered = dependent_last(sweep.space)
    for key, dimension in sweep.space.items():
        about: KeyPath = ("space", key, "when")
        for other, wanted in dimension.when.items():
            known = sweep.space.get(other)
            if known is None:
                yield Finding(((*about, other),), f"{other} is not a key of the space", "name one that is searched")
            elif not known.kinds or not known.is_listed:
                yield Finding(((*about, other),), f"{other} has no listed values", "give it a choice, or a grid")
            else:
                yield from _unlisted((*about, other), other, wanted, known)
        if key not in ordered and all(other in sweep.space for other in dimension.when):
            yield Finding((about,), "waits for itself", "leave one of the conditions out")


def _unlisted(about: KeyPath, key: str, wanted: Any, known: Dimension) -> Iterator[Finding]:
    there = [written(value) for value in known.values]
    for value in wanted if isinstance(wanted, list | tuple) else [wanted]:
        if written(value) not in there:
            what = f"{shown_value(value)} is no value of {key}"
            yield Finding((about,), what, "one of " + ", ".join(map(shown_value, there)))


def _taken(sweep: Sweep) -> Iterator[Finding]:
    for key in sweep.space:
        if key in _TAKEN:
            yield Finding((("space", key),), "cannot be searched", _TAKEN[key])
    if "train.seed" in sweep.space and sweep.search.seeds > 1:
        what = f"is searched, and search.seeds is {sweep.search.seeds}"
        yield Finding((("space", "train.seed"), ("search", "seeds")), what, "leave one of the two out")


def _budget(sweep: Sweep) -> Iterator[Finding]:
    search = sweep.search
    about: KeyPath = ("search", "trials")
    if search.searcher != "grid":
        if search.trials is None:
            yield Finding((about, ("search", "searcher")), "is required", "give the number of configurations to try")
        return
    if any(not dimension.kinds or not dimension.is_listed for dimension in sweep.space.values()):
        return
    most = math.prod(len(dimension.values) for dimension in sweep.space.values())
    if most > MOST_GRID:
        yield Finding(
            (("space",),), f"has {most:,} combinations, and a grid at most {MOST_GRID:,}", "list fewer values"
        )
    elif search.trials is not None and search.trials != (size := grid_size(sweep)):
        do = "leave it out, or use searcher random"
        yield Finding((about, ("space",)), f"is {search.trials}, but the grid has {size} configurations", do)


def _unknown_keys(sweep: Sweep, written_sweep: Document, recipe: Document) -> Iterator[Problem]:
    for key, dimension in sweep.space.items():
        for problem in overridden(recipe, [f"{key}={written(dimension.values[0])}"]).problems:
            if problem.where.startswith(_OVERRIDE):
                yield Problem(written_sweep.place(("space", key)), problem.what, problem.do)


def _untyped(sweep: Sweep, written_sweep: Document) -> Iterator[Problem]:
    """A number between two needs a key that takes every number between them."""
    for key, dimension in sweep.space.items():
        path: KeyPath = tuple(int(part) if part.isdigit() else part for part in key.split("."))
        slot = slot_at(path)
        if slot is None or dimension.is_listed:
            continue
        taken = {option.annotation for option in options(slot)}
        needed = {int, float} if dimension.kind == "randint" else {float}
        if not taken & needed:
            what = f"{dimension.kind} draws {'whole ' * (dimension.kind == 'randint')}numbers, but {key} takes none"
            do = "use randint" if int in taken else "list its values: choice"
            yield Problem(written_sweep.place(("space", key, dimension.kind)), what, do)


def _of_corner(
    sweep: Sweep, settings: Settings, written_sweep: Document, recipe: Document, check_files: bool
) -> Iterator[Problem]:
    try:
        made = recipe_of(overridden(recipe, trial_words(sweep, settings)), check_files)
    except UserError as error:
        for problem in error.problems:
            yield _in_sweep(problem, settings, written_sweep)
        return
    if not made.data.validation:
        what = f"no trial reports {sweep.metric}: data.validation of the recipe is empty"
        yield Problem(written_sweep.place(("metric",)), what, "give the recipe a validation split")


def _in_sweep(problem: Problem, settings: Settings, written_sweep: Document) -> Problem:
    """A problem of one corner's recipe, where it stands in the sweep's file."""
    key = problem.where.removeprefix(_OVERRIDE).partition("=")[0] if problem.where.startswith(_OVERRIDE) else ""
    path: KeyPath = ("space", key) if key in settings else _OF_FIXED.get(key, ("space",))
    place = written_sweep.place(path)
    if not key:
        place += f", {problem.where}"
    if key in _OF_FIXED:
        return Problem(place, problem.what, problem.do.replace("evaluate.", ""))
    with_others = ", ".join(f"{name}={shown_value(written(value))}" for name, value in settings.items())
    return Problem(place, f"{problem.what} (with {with_others})", problem.do)


_OF_FIXED: Mapping[str, KeyPath] = {"evaluate.metric": ("metric",), "evaluate.mode": ("mode",)}
