"""What the ranks of a run come to, step by step: the least, the median and the largest of each measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from biodist.aggregation.event_lines import Columns
from biodist.aggregation.series import Series, Values, is_new, per_second

_REDUCTIONS: dict[str, Callable[..., Values]] = {"min": np.min, "median": np.median, "max": np.max}


def rank_series(attempts: Sequence[Sequence[tuple[int, Columns]]]) -> dict[str, Series]:
    """`ranks/<measure>/<min | median | max>` out of the paces of each attempt's ranks, cut where later ones resumed.

    Measures: `step_seconds`, `tokens_per_second`, `waiting_seconds`, `forward_seconds`, `memory_bytes` (peak so far).
    A step counts where all ranks of the attempt have told of it.
    """
    parts = [reduced for ranks in attempts if (reduced := _reduced([pace for _, pace in ranks])) is not None]
    if not parts:
        return {}
    steps = np.concatenate([part.steps for part in parts])
    times = np.concatenate([part.times for part in parts])
    new = is_new(steps)
    return {
        f"ranks/{name}": Series(steps[new], np.concatenate([part.values[name] for part in parts])[new], times[new])
        for name in parts[0].values
    }


def _reduced(ranks: Sequence[Columns]) -> Columns | None:
    """One line a step out of the lines of several ranks; None where no step is common to all."""
    if not ranks:
        return None
    common = ranks[0].steps
    for pace in ranks[1:]:
        common = common if np.array_equal(common, pace.steps) else np.intersect1d(common, pace.steps)
    if not len(common):
        return None
    aligned = [pace.chosen(np.searchsorted(pace.steps, common)) for pace in ranks]
    measures = [_measures(pace.values) for pace in aligned]
    values = {
        f"{name}/{how}": reduce(np.stack([one[name] for one in measures]), axis=0)
        for name in measures[0]
        for how, reduce in _REDUCTIONS.items()
    }
    return Columns(common, np.max(np.stack([pace.times for pace in aligned]), axis=0), aligned[0].lines, values)


def _measures(values: Mapping[str, Values]) -> dict[str, Values]:
    seconds, tokens = values["seconds"], values["tokens"]
    return {
        "step_seconds": seconds,
        "tokens_per_second": per_second(tokens, seconds),
        "waiting_seconds": values["waiting_seconds"],
        "forward_seconds": values["forward_seconds"],
        "memory_bytes": values["peak_memory_bytes"],
    }
