"""Charts of the time of runs: when each attempt did what, and what all of it went into."""

from __future__ import annotations

from collections.abc import Sequence

from biodist.aggregation.look import Part
from biodist.report.figures import Bar, Figure, bars
from biodist.report.goodput import PARTS
from biodist.report.quantities import duration, percent
from biodist.report.study import Subject
from biodist.report.timeline import Stretch, coarse

SHOWN_ROWS = 40
_FINEST = 1 / 800  # of the whole: what is shorter is narrower than a pixel or two, and joins what is before it
_UNITS = ((2 * 86400.0, 86400.0, "d"), (2 * 3600.0, 3600.0, "h"), (120.0, 60.0, "min"), (0.0, 1.0, "s"))


def time_line(subjects: Sequence[Subject]) -> Figure | None:
    """A row an attempt of one run, or a row a run, over the time since its beginning. None without an attempt."""
    shown = [subject for subject in subjects if subject.timeline and subject.timeline.stretches][:SHOWN_ROWS]
    if not shown:
        return None
    longest = max(subject.timeline.wall_s for subject in shown if subject.timeline)
    size, unit = unit_of(longest)
    rows: dict[str, None] = {}
    by_part: dict[Part, list[Bar]] = {part: [] for part in PARTS}
    for subject in shown:
        assert subject.timeline is not None
        begin = subject.timeline.stretches[0].begin
        for stretch in coarse(subject.timeline.stretches, longest * _FINEST):
            row = _row(subject, stretch) if len(shown) == 1 else subject.name
            rows.setdefault(row)
            says = f"{row}<br>{stretch.part}: {duration(stretch.seconds)}, from {duration(stretch.begin - begin)} on"
            by_part[stretch.part].append(Bar(row, (stretch.begin - begin) / size, stretch.seconds / size, says))
    caption = "Time since the submission, or the start where there was none. Very short stretches join the one before."
    return bars(
        "timeline",
        list(rows),
        by_part,
        f"time since the beginning ({unit})",
        caption,
    )


def shares(subjects: Sequence[Subject]) -> Figure | None:
    """What each run's wall time went into, in percent. None without an attempt."""
    shown = [subject for subject in subjects if subject.goodput and subject.goodput.wall_s][:SHOWN_ROWS]
    by_part: dict[Part, list[Bar]] = {part: [] for part in PARTS}
    for subject in shown:
        assert subject.goodput is not None
        base, wall = 0.0, subject.goodput.wall_s
        for part, seconds in subject.goodput.seconds.items():
            length = 100 * seconds / wall
            says = f"{subject.name}<br>{part}: {duration(seconds)}, {percent(seconds, wall)}"
            if seconds:
                by_part[part].append(Bar(subject.name, base, length, says))
            base += length
    rows = [subject.name for subject in shown]
    return bars("goodput", rows, by_part, "of the wall time (%)") if shown else None


def _row(subject: Subject, stretch: Stretch) -> str:
    return f"attempt {stretch.attempt}" if stretch.attempt is not None else "between"


def unit_of(seconds: float) -> tuple[float, str]:
    """The unit that a time of this length is read in: its seconds and its name."""
    return next((size, name) for least, size, name in _UNITS if seconds >= least)
