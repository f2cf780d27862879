"""Learning curves: a line a group of runs, a band of one standard deviation over its seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biodist.aggregation.groups import Band, bands
from biodist.aggregation.look import band_colour, colour
from biodist.aggregation.series import Series
from biodist.report.figures import Figure, Json, axis, grid, heading, layout, rounded
from biodist.report.results import score_name
from biodist.report.study import COLOURS, VALIDATION, Group, Study

POINTS = 400  # of one line
COLUMNS = 2
_CHART_PX = 240
_LEGEND_PX = 22  # a line of the legend
Values = NDArray[np.float64]


def thinned(series: Series, last_step: int, points: int = POINTS) -> Series:
    """Means over stretches of equal length where there are more steps than points; the stretch's last step stands."""
    width = -(-last_step // points)
    if width <= 1 or not len(series):
        return series
    slots = (series.steps - 1) // width
    _, first, count = np.unique(slots, return_index=True, return_counts=True)
    values = np.add.reduceat(series.values, first) / count
    ends = first + count - 1
    return Series(series.steps[ends], values, series.times[ends])


def curves(study: Study) -> Figure | None:
    """Metric and losses over steps. None where no run has a curve."""
    groups = study.groups[:COLOURS]
    tags = [tag for tag in _tags(study) if any(_series(group, tag) for group in groups)]
    if not tags:
        return None
    last = max(int(found.steps[-1]) for tag in tags for group in groups for found in _series(group, tag))
    width = -(-last // POINTS)
    cells = grid(len(tags), COLUMNS)
    traces: list[Json] = []
    drawn = layout(showlegend=len(groups) > 1, annotations=[])
    for number, (tag, (across, up)) in enumerate(zip(tags, cells, strict=True), start=1):
        key = "" if number == 1 else str(number)
        drawn[f"xaxis{key}"] = axis("step", domain=across, anchor=f"y{key}")
        drawn[f"yaxis{key}"] = axis(domain=up, anchor=f"x{key}")
        drawn["annotations"].append(heading(_title(tag), across[0], up[1]))
        for group in groups:
            found = [{tag: thinned(one, last)} for one in _series(group, tag)]
            if found:
                traces += _lines(bands(found)[tag], group, key, number == 1)
    rows = -(-len(tags) // COLUMNS)
    names = _LEGEND_PX * len(groups) if len(groups) > 1 else 0
    height = 90 + rows * _CHART_PX + names
    drawn["margin"] |= {"b": 64 + names}
    drawn["legend"] |= {"y": -64 / (height - 96 - names), "entrywidth": 1, "entrywidthmode": "fraction"}
    return Figure("curves", tuple(traces), drawn, height, _caption(study, width))


def _tags(study: Study) -> list[str]:
    wanted = [f"{VALIDATION}/{study.metric}", f"{VALIDATION}/loss", "train/loss", "train/learning_rate"]
    foreigners = [subject.view.series for subject in study.subjects if not subject.ours]
    there = {tag for series in foreigners for tag in series}
    foreign = sorted(tag for tag in there if tag.rpartition("/")[2] in (study.metric, "loss", "learning_rate"))
    return list(dict.fromkeys([*wanted, *foreign]))[: 3 * COLUMNS]


def _title(tag: str) -> str:
    split, _, name = tag.rpartition("/")
    return f"{score_name(name)}, {split}" if split else score_name(name)


def _series(group: Group, tag: str) -> list[Series]:
    found = (member.view.series.get(tag) for member in group.members)
    return [series for series in found if series is not None and len(series)]


def _lines(line: Band, group: Group, key: str, named: bool) -> list[Json]:
    steps = line.steps.tolist()
    where: Json = {"type": "scatter", "xaxis": f"x{key}", "yaxis": f"y{key}", "legendgroup": group.label}
    spread = np.where(line.count > 1, line.sd, 0.0)
    traces: list[Json] = []
    if (line.count > 1).any():
        upper, lower = line.mean + spread, line.mean - spread
        ring = {"x": [*steps, *reversed(steps)], "y": _plain([*upper, *lower[::-1]])}
        filled: Json = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": band_colour(group.place)}
        traces.append({**where, **ring, **filled, "hoverinfo": "skip", "showlegend": False})
    says = [
        f"{group.label}<br>step {step:,}: {mean:.4g}" + (f" ± {sd:.2g} ({n} runs)" if n > 1 else "")
        for step, mean, sd, n in zip(steps, line.mean, spread, line.count, strict=True)
    ]
    own_colour = colour(group.place)
    look: Json = {"mode": "lines+markers" if len(steps) <= 30 else "lines", "line": {"color": own_colour, "width": 2}}
    own: Json = {"x": steps, "y": _plain(line.mean), "name": group.label, "hovertext": says, "hoverinfo": "text"}
    traces.append({**where, **look, **own, "marker": {"color": own_colour, "size": 5}, "showlegend": named})
    return traces


def _plain(values: Sequence[float] | Values) -> list[float]:
    return [rounded(float(value)) for value in values]


def _caption(study: Study, width: int) -> str:
    said = ["Over optimizer steps."]
    if any(len(group.members) > 1 for group in study.groups[:COLOURS]):
        said.append("Line: mean over the runs of a group; band: one standard deviation (n − 1) to both sides.")
    if width > 1:
        said.append(f"Curves of training: means of {width} steps.")
    if len(study.groups) > COLOURS:
        said.append(f"The best {COLOURS} of {len(study.groups)} groups, by {score_name(study.metric)} on validation.")
    return " ".join(said)
