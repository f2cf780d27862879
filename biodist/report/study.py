"""What a report is about: one run or many, and which of them belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from biodist.aggregation.groups import group_runs
from biodist.aggregation.runs import RunPlace, RunView, find_runs, read_run
from biodist.errors import BiodistError, Problem, UserError
from biodist.plan.plan import Plan, read_plan
from biodist.report.goodput import Goodput, goodput
from biodist.report.quantities import spread_of
from biodist.report.stragglers import RankPace, rank_paces
from biodist.report.timeline import Timeline, timeline
from biodist.run.folder import RunFolder
from biodist.run.provenance import Provenance

Mode = Literal["min", "max"]
VALIDATION, TEST = "validation", "test"
SEED = "train.seed"
COLOURS = 8  # that can be told apart
_GUESSES = ("f1", "accuracy", "macro_f1", "matthews")  # metrics that more is better of, where no recipe names one


@dataclass(frozen=True)
class Subject:
    """One run, and what its folder tells beyond its curves. A foreign one has curves and settings alone."""

    view: RunView
    plan: Plan | None = None  # of its newest attempt
    provenance: Provenance | None = None
    timeline: Timeline | None = None
    ranks: tuple[RankPace, ...] = ()

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.view.folder)

    @property
    def ours(self) -> bool:
        return self.view.kind == "biodist"

    @cached_property
    def goodput(self) -> Goodput | None:
        return goodput(self.timeline) if self.timeline and self.timeline.stretches else None

    def scores(self, split: str) -> Mapping[str, Any]:
        """Of the weights in model/; empty where the run has not ended, or the split was not scored."""
        found = self.view.result.metrics.get(split) if self.view.result else None
        return found or {}

    def score(self, split: str, metric: str, mode: Mode) -> float | None:
        """Of the weights in model/; of a run that has not ended, the best validation score so far."""
        corpus, _, name = metric.rpartition(".")  # of one corpus: ncbi.f1
        scores = self.scores(split)
        value = scores.get(metric, scores.get("corpora", {}).get(corpus, {}).get(name))
        if value is None and split == VALIDATION:
            series = self.view.series.get(f"{VALIDATION}/{metric}")
            best = series.best(mode) if series is not None else None
            return best.value if best else None
        return float(value) if value is not None else None


@dataclass(frozen=True)
class Group:
    """Runs that are told apart by nothing that is compared: seeds of one configuration."""

    label: str
    place: int  # of its colour
    settings: Mapping[str, Any]
    members: tuple[Subject, ...]

    def scores(self, split: str, metric: str, mode: Mode) -> list[float | None]:
        return [member.score(split, metric, mode) for member in self.members]


@dataclass(frozen=True)
class Study:
    """`groups` stand best first, by the mean of `metric` on validation; the test split never decides."""

    title: str
    subjects: tuple[Subject, ...]
    groups: tuple[Group, ...]
    metric: str
    mode: Mode
    varied: tuple[str, ...]  # settings that differ between runs, the seed apart
    problems: tuple[Problem, ...]  # of what is left out
    unread: tuple[Problem, ...] = ()  # those of whole runs

    @property
    def best(self) -> Group:
        return self.groups[0]

    @property
    def best_run(self) -> Subject:
        """Of the best group, by validation."""
        return _by_validation(self.best.members, self.metric, self.mode)[0]


def read_study(paths: Sequence[Path], group_by: Sequence[str] = ()) -> Study:
    """Every run below `paths`. What cannot be read is left out and stands in `problems`.

    Raises UserError when there is no run, none can be read, or none has a setting to group by.
    """
    problems: list[Problem] = []
    unread: list[Problem] = []
    subjects: list[Subject] = []
    for place in find_runs(paths):
        try:
            subjects.append(_subject(place, problems))
        except (BiodistError, OSError) as error:
            unread.append(Problem(str(place.folder), str(error), "the run is left out"))
    if not subjects:
        raise UserError(unread)
    varied = _varied(subjects)
    metric, mode = _metric(subjects)
    groups = _groups(subjects, tuple(group_by) or varied)
    title = subjects[0].name if len(subjects) == 1 else paths[0].absolute().name
    ranked = sorted(groups, key=lambda group: _rank(group, metric, mode))
    if len(ranked) > COLOURS:  # only the best are drawn: they must not share a colour
        ranked = [replace(group, place=place) for place, group in enumerate(ranked)]
    return Study(title, tuple(subjects), tuple(ranked), metric, mode, varied, (*unread, *problems), tuple(unread))


def _subject(place: RunPlace, problems: list[Problem]) -> Subject:
    """Of one that is ours, a part that cannot be read is left out and named; the rest of it is shown."""
    view = read_run(place)
    problems += view.problems
    if view.kind != "biodist":
        return Subject(view)
    run = RunFolder(view.folder)

    def part(read: Any) -> Any:
        try:
            return read()
        except (BiodistError, OSError) as error:
            problems.append(Problem(view.name, str(error), "the report does without it"))
            return None

    plans = [attempt.plan for attempt in run.attempts() if attempt.plan.exists()]
    return Subject(
        view,
        plan=part(lambda: read_plan(plans[-1])) if plans else None,
        provenance=part(lambda: Provenance.load(run.provenance)) if run.provenance.exists() else None,
        timeline=part(lambda: timeline(run)),
        ranks=part(lambda: rank_paces(run)) or (),
    )


def _metric(subjects: Sequence[Subject]) -> tuple[str, Mode]:
    """The recipes' own, the most frequent one where they differ; of foreign runs one that they have."""
    named = Counter(
        (str(s.view.settings["evaluate.metric"]), str(s.view.settings.get("evaluate.mode", "max")))
        for s in subjects
        if "evaluate.metric" in s.view.settings
    )
    if named:
        (metric, mode), _ = named.most_common(1)[0]
        return metric, "min" if mode == "min" else "max"
    there = {tag.partition("/")[2] for subject in subjects for tag in subject.view.series}
    guess = next((name for name in _GUESSES if name in there), None)
    return (guess, "max") if guess else ("loss", "min")


def _varied(subjects: Sequence[Subject]) -> tuple[str, ...]:
    keys = dict.fromkeys(key for subject in subjects for key in subject.view.settings)
    return tuple(
        key
        for key in keys
        if key not in (SEED, "name") and len({repr(subject.view.settings.get(key)) for subject in subjects}) > 1
    )


def _groups(subjects: Sequence[Subject], keys: Sequence[str]) -> list[Group]:
    """In the order of their labels, as TensorBoard's tree has them. Raises UserError for keys that no run has."""
    by_name = {subject.name: subject for subject in subjects}
    found = group_runs({name: subject.view.settings for name, subject in by_name.items()}, keys)
    return [
        Group(one.label or _common_name(subjects), place, one.settings, tuple(by_name[name] for name in one.members))
        for place, one in enumerate(found)
    ]


def _common_name(subjects: Sequence[Subject]) -> str:
    names = {str(subject.view.settings.get("name", subject.name)) for subject in subjects}
    return names.pop() if len(names) == 1 else "all runs"


def short_name(key: str) -> str:
    """The last part of a dotted key: `learning_rate`."""
    return key.rpartition(".")[2]


def _rank(group: Group, metric: str, mode: Mode) -> tuple[bool, float]:
    found = spread_of(group.scores(VALIDATION, metric, mode))
    return (found is None, 0.0 if found is None else found.mean * (-1 if mode == "max" else 1))


def _by_validation(members: Sequence[Subject], metric: str, mode: Mode) -> list[Subject]:
    def rank(subject: Subject) -> tuple[bool, float]:
        value = subject.score(VALIDATION, metric, mode)
        return (value is None, 0.0 if value is None else value * (-1 if mode == "max" else 1))

    return sorted(members, key=rank)
