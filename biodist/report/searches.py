"""Hyper-parameters against the metric: parallel coordinates over all that was varied, and a scatter of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from biodist.aggregation.groups import written
from biodist.aggregation.look import colour
from biodist.aggregation.runs import Scalar
from biodist.report.figures import Figure, Json, axis, grid, heading, layout, rounded
from biodist.report.quantities import number, score
from biodist.report.results import score_name
from biodist.report.study import VALIDATION, Study, Subject, short_name

SHOWN_KEYS = 9
SHOWN_RUNS = 300  # lines of the parallel coordinates, best ones
_LOG_FROM = 20.0  # a key whose values span this factor is drawn on a logarithmic axis
_TICKS = 4
_MANY_NAMES = 12


@dataclass(frozen=True)
class Dimension:
    """One axis of the parallel coordinates: where each value lies between 0 and 1, and the ticks beside it."""

    name: str
    places: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class _Trial:
    subject: Subject
    value: float


def search_figures(study: Study) -> list[Figure]:
    """None where nothing but the seed was varied, or fewer than two runs have the metric."""
    trials = _trials(study)
    keys = [key for key in study.varied if _worth(key, trials)][:SHOWN_KEYS]
    if not keys or len(trials) < 2:
        return []
    return [_parallel(study, keys, trials[:SHOWN_RUNS], len(trials)), _scatter(study, keys, trials)]


def _trials(study: Study) -> list[_Trial]:
    """Runs with a validation score, best first."""
    found = [(subject, subject.score(VALIDATION, study.metric, study.mode)) for subject in study.subjects]
    trials = [_Trial(subject, value) for subject, value in found if value is not None and math.isfinite(value)]
    return sorted(trials, key=lambda trial: trial.value, reverse=study.mode == "max")


def _worth(key: str, trials: Sequence[_Trial]) -> bool:
    """A key with a name of its own for every run (a path) tells nothing on an axis."""
    values = _values(key, trials)
    distinct = {written(value) for value in values}
    return len(distinct) > 1 and (_numbers(values) is not None or len(distinct) <= _MANY_NAMES)


def _values(key: str, trials: Sequence[_Trial]) -> list[Scalar | None]:
    return [trial.subject.view.settings.get(key) for trial in trials]


def _numbers(values: Sequence[Scalar | float | None]) -> list[float] | None:
    """None where one is no finite number."""
    found = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    return found if len(found) == len(values) else None


def _is_log(numbers: Sequence[float]) -> bool:
    return min(numbers) > 0 and max(numbers) / min(numbers) >= _LOG_FROM


def dimension(name: str, values: Sequence[Scalar | None]) -> Dimension:
    """Numbers lie by their size, on a logarithmic axis where they span a factor of twenty; others by their order."""
    numbers = _numbers(values)
    if numbers is None:
        names = sorted({written(value) for value in values})
        at = {each: (place + 0.5) / len(names) for place, each in enumerate(names)}
        return Dimension(name, tuple(at[written(value)] for value in values), tuple((at[n], n) for n in names))
    low, high, log = min(numbers), max(numbers), _is_log(numbers)
    if low == high:
        return Dimension(name, (0.5,) * len(numbers), ((0.5, number(low)),))
    bend = math.log if log else float
    span = bend(high) - bend(low)
    places = tuple((bend(value) - bend(low)) / span for value in numbers)
    shares = [n / _TICKS for n in range(_TICKS + 1)]
    marks = [low * (high / low) ** share if log else low + (high - low) * share for share in shares]
    ticks = tuple((share, number(mark, 3)) for share, mark in zip(shares, marks, strict=True))
    return Dimension(f"{name} (log)" if log else name, places, ticks)


def _parallel(study: Study, keys: Sequence[str], trials: Sequence[_Trial], all_trials: int) -> Figure:
    values = [trial.value for trial in trials]
    axes = [dimension(short_name(key), _values(key, trials)) for key in keys]
    axes.append(dimension(f"{score_name(study.metric)}, validation", values))
    # The best are drawn last, on top.
    traces = tuple(_line(study, keys, axes, trials, place) for place in reversed(range(len(trials))))
    ends = {"shapes": [_pole(place) for place in range(len(axes))]}
    notes = [note for place, one in enumerate(axes) for note in _labels(place, one)]
    drawn = layout(
        xaxis=axis(range=[-0.15, len(axes) - 1 + 0.25], visible=False, fixedrange=True),
        yaxis=axis(range=[-0.04, 1.12], visible=False, fixedrange=True),
        annotations=notes,
        **ends,
    )
    drawn["margin"] |= {"l": 24, "b": 16}
    left_out = f" The best {len(trials)} of {all_trials} runs." if all_trials > len(trials) else ""
    caption = f"A line a run, the strongest colour the best {score_name(study.metric)} on validation.{left_out}"
    return Figure("parallel", traces, drawn, 380, caption)


def _line(study: Study, keys: Sequence[str], axes: Sequence[Dimension], trials: Sequence[_Trial], place: int) -> Json:
    trial = trials[place]
    settings = [f"{short_name(key)}: {written(trial.subject.view.settings.get(key))}" for key in keys]
    says = "<br>".join([trial.subject.name, *settings, f"{score_name(study.metric)}: {score(trial.value)}"])
    share = 1.0 if len(trials) == 1 else 1 - place / (len(trials) - 1)
    return {
        **{"type": "scatter", "mode": "lines", "x": list(range(len(axes)))},
        **{"y": [rounded(one.places[place]) for one in axes], "hovertext": says, "hoverinfo": "text"},
        "line": {"color": colour(0), "width": 1.5 + share, "shape": "linear"},
        "opacity": round(0.15 + 0.85 * share**2, 3),
    }


def _pole(place: int) -> Json:
    return {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "line": {"width": 1}, "layer": "below"}


def _labels(place: int, one: Dimension) -> list[Json]:
    common: Json = {"showarrow": False, "x": place, "xref": "x", "yref": "y"}
    title = {**common, "y": 1.06, "text": one.name, "yanchor": "bottom", "xanchor": "center", "font": {"size": 12}}
    ticks = [
        {**common, "y": at, "text": text, "xanchor": "left", "xshift": 4, "font": {"size": 10}, "name": "tick"}
        for at, text in one.ticks
    ]
    return [title, *ticks]


def _scatter(study: Study, keys: Sequence[str], trials: Sequence[_Trial]) -> Figure:
    columns = min(3, len(keys))
    cells = grid(len(keys), columns)
    traces: list[Json] = []
    drawn = layout(annotations=[])
    says = [f"{trial.subject.name}<br>{score_name(study.metric)}: {score(trial.value)}" for trial in trials]
    for place, (key, (across, up)) in enumerate(zip(keys, cells, strict=True), start=1):
        values = _values(key, trials)
        numbers = _numbers(values)
        suffix = "" if place == 1 else str(place)
        kind = "category" if numbers is None else "log" if _is_log(numbers) else "linear"
        first = (place - 1) % columns == 0
        title = f"{score_name(study.metric)}, validation" if first else ""
        drawn[f"xaxis{suffix}"] = axis(domain=across, anchor=f"y{suffix}", type=kind)
        drawn[f"yaxis{suffix}"] = axis(title, domain=up, anchor=f"x{suffix}", matches="y" if place > 1 else None)
        drawn["annotations"].append(heading(short_name(key), across[0], up[1]))
        points: Json = {"x": numbers or [written(value) for value in values]}
        points |= {"y": [rounded(trial.value) for trial in trials], "hovertext": says, "hoverinfo": "text"}
        marker = {"color": colour(0), "size": 7, "opacity": 0.7}
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        traces.append({"type": "scatter", "mode": "markers", **points, "marker": marker, **axes})
    rows = -(-len(keys) // columns)
    return Figure("scatter", tuple(traces), drawn, 90 + 230 * rows, "A point a run.")
