"""The points of a sweep's space: settings of a recipe's keys, their names, and the ends that all must be valid."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from biodist.config.sweep import Dimension, Sweep

Settings = dict[str, Any]
"""A value for each key of the space that applies."""

MOST_CORNERS = 256
_PLAIN = re.compile(r"[^\s\[\]{}\"'~,#][^\n\"'{}\[\]]*")


def applies(dimension: Dimension, settings: Mapping[str, Any]) -> bool:
    """Whether the other keys have the values that this one asks for."""
    return all(
        key in settings and any(written(settings[key]) == written(value) for value in _listed(wanted))
        for key, wanted in dimension.when.items()
    )


def pruned(space: Mapping[str, Dimension], drawn: Mapping[str, Any]) -> Settings:
    """What was drawn, without the keys that do not apply; keys stand in the space's order."""
    settings: Settings = {}
    for key in dependent_last(space):
        if applies(space[key], settings):
            settings[key] = drawn[key]
    return {key: settings[key] for key in space if key in settings}


def dependent_last(space: Mapping[str, Dimension]) -> list[str]:
    """The keys, each after those its `when` names. What waits for itself is left out."""
    ordered: list[str] = []
    left = list(space)
    while ready := [key for key in left if all(other in ordered for other in space[key].when)]:
        ordered += ready
        left = [key for key in left if key not in ready]
    return ordered


def grid(space: Mapping[str, Dimension]) -> Iterator[Settings]:
    """Every combination of listed values, the last key fastest; those that come to the same stand once."""
    yield from _distinct(space, itertools.product(*(dimension.values for dimension in space.values())))


def corners(space: Mapping[str, Dimension]) -> Iterator[Settings]:
    """Every combination of ends and listed values; of a large space each value once, beside the first of the others."""
    ends = [dimension.values for dimension in space.values()]
    count = 1
    for values in ends:
        count *= len(values)
    if count <= MOST_CORNERS:
        yield from _distinct(space, itertools.product(*ends))
        return
    first = [values[0] for values in ends]
    one_apart = ((*first[:place], value, *first[place + 1 :]) for place, values in enumerate(ends) for value in values)
    yield from _distinct(space, itertools.chain(one_apart, [tuple(values[-1] for values in ends)]))


def written(value: Any) -> str:
    """A value as an override writes it; reading it gives the same value, to the last bit of a number."""
    if value is None:
        return "null"
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and value == value.strip() and value != "null"
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def overrides(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings as a command's words: `train.learning_rate=1e-05`."""
    return tuple(f"{key}={written(value)}" for key, value in settings.items())


def digest(settings: Mapping[str, Any], seed: int) -> str:
    """8 hex digits of a configuration: its settings and its run's seed."""
    text = json.dumps([sorted(overrides(settings)), seed], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def grid_size(sweep: Sweep) -> int:
    """Configurations under searcher grid."""
    return sum(1 for _ in grid(sweep.space))


def configurations(sweep: Sweep) -> int:
    """Configurations that the sweep tries."""
    return sweep.search.trials or (grid_size(sweep) if sweep.search.searcher == "grid" else 1)


def _distinct(space: Mapping[str, Dimension], products: Iterable[tuple[Any, ...]]) -> Iterator[Settings]:
    seen: set[str] = set()
    for values in products:
        settings = pruned(space, dict(zip(space, values, strict=True)))
        name = json.dumps(overrides(settings))
        if name not in seen:
            seen.add(name)
            yield settings


def _listed(wanted: Any) -> list[Any]:
    return list(wanted) if isinstance(wanted, list | tuple) else [wanted]
