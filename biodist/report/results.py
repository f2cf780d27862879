"""The tables of what was reached: groups of runs, epochs, types and classes, the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biodist.aggregation.groups import written
from biodist.aggregation.look import quantity
from biodist.report.quantities import ABSENT, number, score, spread_score
from biodist.report.study import TEST, VALIDATION, Group, Study, Subject, short_name
from biodist.report.tables import Column, Table

SPLITS = (VALIDATION, TEST)
SHOWN_GROUPS = 30
_SCORES = ("f1", "precision", "recall", "accuracy", "macro_f1", "micro_f1", "example_f1", "matthews", "loss")
_SECTIONS = {"types": "type", "classes": "class", "corpora": "corpus"}
_COUNTS = frozenset({"support"})


def score_name(metric: str) -> str:
    """As it is read: F1, not f1."""
    return quantity(f"/{metric}").title


def best_table(study: Study, brief: bool = False) -> Table:
    """Groups, best first; of a single group a row a score. `brief`: of many groups the metric alone."""
    if len(study.groups) == 1:
        return _one_group(study, study.best)
    return _many_groups(study, [study.metric] if brief else _metrics(study))


def _note(study: Study) -> str:
    several = any(len(group.members) > 1 for group in study.groups)
    spread = "Mean ± standard deviation over the runs of a group (n − 1). " if several else ""
    unfinished = sum(subject.view.status != "finished" for subject in study.subjects)
    so_far = f"{unfinished} of {len(study.subjects)} runs have not finished: their best validation score so far. "
    return f"{spread}{so_far if unfinished else ''}Scores lie between 0 and 1. Chosen by validation alone."


def _one_group(study: Study, group: Group) -> Table:
    splits = [split for split in SPLITS if any(_has(group, split, metric) for metric in _metrics(study))]
    rows = [
        (score_name(metric), *(spread_score(group.scores(split, metric, study.mode)) for split in splits))
        for metric in _metrics(study)
        if any(_has(group, split, metric) for split in splits)
    ]
    columns = (Column("score", number=False), *(Column(split) for split in splits))
    return Table("", columns, tuple(rows), frozenset({0}), _note(study))


def _many_groups(study: Study, metrics: Sequence[str]) -> Table:
    scored = [
        (metric, split)
        for metric in metrics
        for split in SPLITS
        if any(_has(group, split, metric) for group in study.groups)
    ]
    keys = tuple(study.groups[0].settings)
    columns = (
        *(Column(short_name(key), key.rpartition(".")[0], number=False) for key in keys),
        Column("runs"),
        Column("finished"),
        *(Column(score_name(metric), split) for metric, split in scored),
    )
    rows = tuple(
        (
            *(written(group.settings[key]) for key in keys),
            str(len(group.members)),
            str(sum(member.view.status == "finished" for member in group.members)),
            *(spread_score(group.scores(split, metric, study.mode)) for metric, split in scored),
        )
        for group in study.groups[:SHOWN_GROUPS]
    )
    hidden = len(study.groups) - len(rows)
    more = f" The {hidden} groups below are left out here; `--json` has all." if hidden > 0 else ""
    return Table("", columns, rows, frozenset({0}), _note(study) + more)


def _metrics(study: Study) -> list[str]:
    """The metric that chooses first, then the others that any run has."""
    there = {
        name
        for subject in study.subjects
        for split in SPLITS
        for name, value in subject.scores(split).items()
        if isinstance(value, int | float)
    }
    known = [name for name in _SCORES if name in there]
    return list(dict.fromkeys([study.metric, *known, *sorted(there)]))


def _has(group: Group, split: str, metric: str) -> bool:
    return any(value is not None for value in group.scores(split, metric, "max"))


def epochs_table(subject: Subject) -> Table | None:
    """A row an evaluation, as model cards print it. None for a run that was never evaluated."""
    tags = [tag for tag in subject.view.series if tag.startswith(f"{VALIDATION}/") and tag.count("/") == 1]
    steps = sorted({int(step) for tag in tags for step in subject.view.series[tag].steps})
    if not steps:
        return None
    names = [name for name in ("loss", *_SCORES) if f"{VALIDATION}/{name}" in tags]
    names = list(dict.fromkeys(names))
    columns = (
        Column("epoch"),
        Column("step"),
        Column("loss", "training"),
        *(Column(score_name(name), VALIDATION) for name in names),
    )
    best = subject.view.result.best_step if subject.view.result else None
    rows = [
        (
            _epoch(subject, step),
            f"{step:,}",
            score(_mean_loss(subject, before, step)),
            *(score(_at(subject, f"{VALIDATION}/{name}", step)) for name in names),
        )
        for before, step in zip([0, *steps], steps, strict=False)
    ]
    strong = frozenset({steps.index(best)}) if best in steps else frozenset()
    note = "Training loss: mean over the steps since the row above. In bold: the weights in model/."
    return Table(subject.name, columns, tuple(rows), strong, note)


def _epoch(subject: Subject, step: int) -> str:
    if subject.plan is None:
        return ABSENT
    return f"{step / subject.plan.batch.steps_per_epoch:.2f}"


def _mean_loss(subject: Subject, after: int, to: int) -> float | None:
    series = subject.view.series.get("train/loss")
    if series is None:
        return None
    values = series.values[(series.steps > after) & (series.steps <= to)]
    return float(np.mean(values)) if len(values) else None


def _at(subject: Subject, tag: str, step: int) -> float | None:
    series = subject.view.series.get(tag)
    if series is None or not (series.steps == step).any():
        return None
    return float(series.values[series.steps == step][0])


def breakdowns(group: Group, split: str) -> Iterator[Table]:
    """Scores by type, by class, by corpus: a table of each that the group's runs have."""
    for section, noun in _SECTIONS.items():
        named = [scores for member in group.members if (scores := member.scores(split).get(section))]
        if named:
            yield _breakdown(named, noun, split)


def _breakdown(named: Sequence[Mapping[str, Any]], noun: str, split: str) -> Table:
    names = list(dict.fromkeys(name for scores in named for name in scores))
    metrics = [
        metric
        for metric in dict.fromkeys((*_SCORES, *_COUNTS))
        if any(_number(scores, name, metric) is not None for scores in named for name in names)
    ]
    rows = tuple(
        (name, *(_cell([_number(scores, name, metric) for scores in named], metric) for metric in metrics))
        for name in names
    )
    note = f"Mean ± standard deviation (n − 1) of {len(named)} runs." if len(named) > 1 else ""
    columns = (Column(noun, number=False), *(Column(score_name(metric)) for metric in metrics))
    return Table(f"by {noun}, {split}", columns, rows, note=note)


def _number(scores: Mapping[str, Any], name: str, metric: str) -> float | None:
    value = scores.get(name, {}).get(metric)
    return float(value) if isinstance(value, int | float) else None


def _cell(values: Sequence[float | None], metric: str) -> str:
    if metric not in _COUNTS:
        return spread_score(values)
    counts = {value for value in values if value is not None}
    return number(counts.pop()) if len(counts) == 1 else " / ".join(sorted(map(number, counts)))


@dataclass(frozen=True)
class Confusion:
    """Counts summed over runs: a row a gold class, a column a predicted one."""

    split: str
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    runs: int


def confusion(group: Group, split: str) -> Confusion | None:
    """Of all runs of the group together; None where there is none, or they differ in their classes."""
    found = [scores for member in group.members if (scores := member.scores(split)).get("confusion")]
    shapes = {(len(scores["confusion"]), tuple(scores.get("classes", ()))) for scores in found}
    if len(shapes) != 1:
        return None
    size, names = shapes.pop()
    total = np.sum([np.asarray(scores["confusion"], dtype=np.int64) for scores in found], axis=0)
    if total.shape != (size, size):
        return None
    names = names if len(names) == size else tuple(f"class {number}" for number in range(size))
    return Confusion(split, names, tuple(tuple(map(int, row)) for row in total), len(found))


def splits_of(subjects: Iterable[Subject]) -> list[str]:
    """The splits that some run was scored on at its end."""
    there = list(subjects)
    return [split for split in SPLITS if any(subject.scores(split) for subject in there)]
