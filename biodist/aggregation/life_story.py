"""What a run went through, as TensorBoard can show it: curves with a point at each restart, and a card of text."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from biodist.aggregation.run_view import AttemptView, RunView
from biodist.aggregation.series import Series, monotone
from biodist.aggregation.wire import field

ATTEMPT, PROCESSES, CARD = "run/attempt", "run/processes", "run/card"


def marker_series(view: RunView) -> dict[str, Series]:
    """`run/attempt` and `run/processes`: a step up or down where the run went on anew; none for an undisturbed run."""
    if not view.markers:
        return {}
    start, end = view.started or 0.0, view.last_step
    attempts, processes = [(1, 1.0, start)], []
    if view.attempts:
        processes.append((1, float(view.attempts[0].world_size), start))
        attempts[0] = (1, float(view.attempts[0].number), start)
        for record in view.attempts[1:]:
            first = (record.resumed_step or 0) + 1
            attempts.append((first, float(record.number), record.started))
            processes.append((first, float(record.world_size), record.started))
    else:
        attempts += [(one.step, 2.0 + number, start) for number, one in enumerate(view.markers)]
    found = {ATTEMPT: _stairs(attempts, end)}
    return {**found, PROCESSES: _stairs(processes, end)} if processes else found


def _stairs(points: list[tuple[int, float, float]], end: int) -> Series:
    """Points and the last one once more at the run's end, so that the line is as long as the run."""
    if end > points[-1][0]:
        points = [*points, (end, points[-1][1], points[-1][2])]
    steps, values, times = zip(*points, strict=True)
    return monotone(np.array(steps, np.int64), np.array(values), np.array(times))[0]


def card(view: RunView) -> str:
    """The run in Markdown: where, how it stands, its attempts and what happened between them."""
    return "\n".join(_card(view)) + "\n"


def _card(view: RunView) -> Iterator[str]:
    yield f"**{view.name}**: {view.status}, {view.last_step:,} steps, in `{view.folder}`"
    if view.dropped:
        yield f"\nDropped: {view.dropped:,} points that a restart overtook."
    if view.damaged:
        yield f"\nLeft out: {view.damaged:,} damaged records."
    if view.attempts:
        yield "\n| attempt | outcome | steps | processes | strategy | host | job | started | ended |"
        yield "|---|---|---|---|---|---|---|---|---|"
        for record in view.attempts:
            yield _row(record)
    if view.markers:
        yield ""
        for marker in view.markers:
            yield f"- {marker.kind}: {marker.what}"


def _row(record: AttemptView) -> str:
    steps = f"{record.first_step or '–'} to {record.last_step or '–'}"
    cells = (record.number, record.outcome, steps, record.world_size, record.strategy, record.host, record.job or "–")
    return f"| {' | '.join(map(str, cells))} | {_clock(record.started)} | {_clock(record.ended)} |"


def _clock(seconds: float | None) -> str:
    return "–" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def text_value(tag: str, text: str) -> bytes:
    """The Summary.Value of the text plugin."""
    tensor = b"\x08\x07" + field(2, b"") + field(8, text.encode())  # DT_STRING, no dimensions, string_val
    return field(1, tag.encode()) + field(8, tensor) + field(9, field(1, field(1, b"text")))
