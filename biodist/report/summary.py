"""The short forms of a report: a few tables in the terminal, and everything in numbers as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from biodist.metrics.growing_file import finite_json
from biodist.report.conduct import command_of, goodput_line, slow_ranks
from biodist.report.goodput import Goodput, together
from biodist.report.quantities import spread_of
from biodist.report.results import SPLITS, best_table, breakdowns, epochs_table, splits_of
from biodist.report.study import Group, Study, Subject


def terminal(study: Study) -> Iterator[RenderableType]:
    """Best table, epochs of a single run, the breakdown of the best group, goodput, slow ranks."""
    yield best_table(study, brief=True).terminal()
    if len(study.subjects) == 1 and (epochs := epochs_table(study.subjects[0])) is not None:
        yield epochs.terminal()
    for split in splits_of(study.best.members)[-1:]:
        for table in breakdowns(study.best, split):
            yield table.terminal()
    if found := [subject.goodput for subject in study.subjects if subject.goodput]:
        yield Text(goodput_line(together(found)))
    for subject in study.subjects:
        yield from map(Text, slow_ranks(subject))
    for problem in study.problems:
        yield Text(f"left out: {problem}")


def as_json(study: Study) -> dict[str, Any]:
    """Everything the page shows but the curves. Times in seconds; nothing here is removed or renamed."""
    value: dict[str, Any] = finite_json(
        {
            "title": study.title,
            "metric": study.metric,
            "mode": study.mode,
            "varied": list(study.varied),
            "groups": [_group(study, group) for group in study.groups],
            "runs": [_run(subject) for subject in study.subjects],
            "problems": [asdict(problem) for problem in study.problems],
        }
    )
    return value


def _group(study: Study, group: Group) -> dict[str, Any]:
    names = sorted(
        {
            name
            for member in group.members
            for split in SPLITS
            for name, value in member.scores(split).items()
            if isinstance(value, int | float)
        }
        | {study.metric}
    )
    scores: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for split in SPLITS:
        for name in names:
            if (found := spread_of(group.scores(split, name, study.mode))) is not None:
                scores[split][name] = found.model_dump()
    return {
        "label": group.label,
        "settings": dict(group.settings),
        "runs": [member.name for member in group.members],
        "scores": scores,
    }


def _run(subject: Subject) -> dict[str, Any]:
    return {
        "name": subject.name,
        "folder": str(subject.view.folder),
        "kind": subject.view.kind,
        "status": subject.view.status,
        "metrics": dict(subject.view.result.metrics) if subject.view.result else {},
        "goodput": _goodput(subject.goodput) if subject.goodput else None,
        "attempts": [record.model_dump() for record in subject.timeline.attempts] if subject.timeline else [],
        "ranks": [asdict(rank) | {"slow": rank.slow} for rank in subject.ranks],
        "command": command_of(subject),
    }


def _goodput(good: Goodput) -> dict[str, Any]:
    return {
        "seconds": dict(good.seconds),
        "wall_s": good.wall_s,
        "share": good.share,
        "steps": asdict(good.steps),
    }
