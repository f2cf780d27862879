"""Charts as Plotly reads them: traces and a layout, plain JSON values. Text, axes and grids take their colours from the
page's style sheet, so that one chart reads in light, in dark and in print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from biodist.aggregation.look import Part, part_colour

Json = dict[str, Any]


class Bar(NamedTuple):
    """From `base` on, `length` long, in the axis's unit; what hovering says."""

    row: str
    base: float
    length: float
    says: str


ROW_PX = 26  # height of one row of bars
_MARGIN: Json = {"l": 64, "r": 16, "t": 48, "b": 48}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Figure:
    """One chart. ``name`` is its element's id; ``caption`` says what a reader must know; ``height`` in pixels."""

    name: str
    traces: tuple[Json, ...]
    layout: Json
    height: int
    caption: str = ""

    def json(self) -> Json:
        """What the page's script hands to Plotly."""
        return {"data": list(self.traces), "layout": {**self.layout, "height": self.height}}


def layout(**more: Any) -> Json:
    """What every chart has: no background of its own, the page's letters, quiet axes."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 12},
        "margin": dict(_MARGIN),
        "hovermode": "closest",
        "showlegend": False,
        "legend": {"orientation": "h", "x": 0, "y": -0.18, "yanchor": "top"},
        **more,
    }


def axis(title: str = "", **more: Any) -> Json:
    """One axis; ``title`` with its unit."""
    return {
        "title": {"text": title, "standoff": 8},
        "zeroline": False,
        "automargin": True,
        "exponentformat": "power",
        **more,
    }


def heading(text: str, x: float, y: float) -> Json:
    """A small title above a part of a figure; `x` and `y` in shares of the whole."""
    return {
        **{"text": text, "x": x, "y": y, "xref": "paper", "yref": "paper"},
        **{"xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 13}},
    }


def grid(count: int, columns: int, gap_x: float = 0.09, gap_y: float = 0.16) -> list[tuple[list[float], list[float]]]:
    """Domains (x, y) of `count` small charts, row by row from the top."""
    rows = -(-count // columns)
    width, tall = (1 - gap_x * (columns - 1)) / columns, (1 - gap_y * (rows - 1)) / rows
    cells = []
    for number in range(count):
        row, column = divmod(number, columns)
        left, top = column * (width + gap_x), 1 - row * (tall + gap_y)
        cells.append(([round(left, 4), round(left + width, 4)], [round(max(0.0, top - tall), 4), round(top, 4)]))
    return cells


def bars(
    name: str,
    rows: Sequence[str],
    by_part: Mapping[Part, Sequence[Bar]],
    title: str,
    caption: str = "",
) -> Figure:
    """Horizontal bars, a colour a part of the time."""
    traces = tuple(
        {
            **{"type": "bar", "orientation": "h", "name": part, "marker": {"color": part_colour(part)}},
            **{"y": [bar.row for bar in those], "base": [rounded(bar.base) for bar in those]},
            **{"x": [rounded(bar.length) for bar in those], "hovertext": [bar.says for bar in those]},
            **{"hoverinfo": "text", "textposition": "none"},
        }
        for part, those in by_part.items()
        if those
    )
    height = 120 + ROW_PX * len(rows)
    drawn = layout(
        barmode="overlay",
        bargap=0.3,
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
        xaxis=axis(title, rangemode="tozero"),
        yaxis=axis(type="category", categoryorder="array", categoryarray=list(reversed(rows)), fixedrange=True),
    )
    return Figure(name, traces, drawn, height, caption)


def rounded(value: float) -> float:
    """To six significant digits: what a chart can show, in a third of the bytes."""
    return float(f"{value:.6g}")
