"""Where a run's time went: stretches that lie end to end, from the submission to the last sign of life.

Made of the attempts' records, the events of rank 0 and the submissions. Because no moment belongs to two stretches and
none to no stretch, the parts of the goodput add up to the wall time by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from biodist.aggregation.look import Part
from biodist.metrics.stitching import stitch
from biodist.report.moments import Moment, moments
from biodist.run.folder import AttemptFolder, RunFolder
from biodist.run.jobs import Submission
from biodist.run.records import AttemptRecord, Failure


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a run's time, in UNIX seconds. ``attempt``: its number; None between two attempts."""

    part: Part
    begin: float
    end: float
    attempt: int | None

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class Steps:
    """Of all attempts together: steps that count, and steps made that a later attempt had to make again."""

    kept: int = 0
    repeated: int = 0


@dataclass(frozen=True)
class Timeline:
    """A run's attempts, and its time without gap or overlap."""

    attempts: tuple[AttemptRecord, ...]
    stretches: tuple[Stretch, ...]
    steps: Steps

    @property
    def wall_s(self) -> float:
        return self.stretches[-1].end - self.stretches[0].begin if self.stretches else 0.0


def timeline(run: RunFolder) -> Timeline:
    """Reads it. Raises RunFailed where a record or an event file is damaged, naming it; OSError."""
    folders = [attempt for attempt in run.attempts() if attempt.record.exists()]
    records = [AttemptRecord.load(attempt.record) for attempt in folders]
    submitted = _submitted(run)
    kept_to = {span.path: span.last for span in stitch(run).spans}
    stretches: list[Stretch] = []
    steps, since = Steps(), None
    for folder, record in zip(folders, records, strict=True):
        waited = _before(record, since, submitted)
        events = moments(folder.events(0))
        own = _Attempt(record, record is records[-1], kept_to.get(folder.events(0)), waited[-1].end)
        steps = own.count(events, steps)
        stretches += [*waited, *own.stretches(events, _last_sign(folder, record, events))]
        since = stretches[-1].end
    return Timeline(
        tuple(records), tuple(coarse((stretch for stretch in stretches if stretch.seconds), finest_s=0.0)), steps
    )


def _submitted(run: RunFolder) -> dict[str, float]:
    """When each job of the run was submitted, in UNIX seconds."""
    folders = (folder for folder in run.jobs() if folder.submission.exists())
    return {job.job_id: job.submitted for folder in folders for job in Submission.load(folder.submission).jobs}


def _before(record: AttemptRecord, since: float | None, submitted: Mapping[str, float]) -> list[Stretch]:
    """From the last attempt's end (the submission, before the first one) to this attempt's start.

    A job waits in the queue from its submission; one that Slurm starts again, from the end of its last life. Before a
    submission, and where there is no job, nobody asked for the run: it was idle.
    """
    asked = submitted.get(record.job, record.started) if record.job else record.started
    begin = min(asked, record.started) if since is None else since
    start = max(record.started, begin)
    asked = min(max(asked, begin), start)
    return [Stretch("idle", begin, asked, None), Stretch("queue", asked, start, None)]


def _last_sign(folder: AttemptFolder, record: AttemptRecord, events: Sequence[Moment]) -> float:
    """When the attempt was last heard of: its end, or where its launcher was killed the newest line it left."""
    if record.ended is not None:
        return record.ended
    failures = (Failure.load(folder.failure(rank)).time for rank in folder.failures())
    return max((record.started, *(event.time for event in events[-1:]), *failures))


@dataclass(frozen=True)
class _Attempt:
    """What it takes to tell one attempt's stretches. ``kept_to``: its last step that counts; None: all do."""

    record: AttemptRecord
    newest: bool
    kept_to: int | None
    begin: float

    def count(self, events: Sequence[Moment], before: Steps) -> Steps:
        made = [event.step for event in events if event.kind == "step"]
        kept = sum(self._counts(step) for step in made)
        return Steps(before.kept + kept, before.repeated + len(made) - kept)

    def stretches(self, events: Sequence[Moment], end: float) -> Iterator[Stretch]:
        """An attempt that died without anything that counts is lost whole; else what follows its last step that does,
        and the time from its last event to its end."""
        if self._died and not any(event.kind in _WORK and self._counts(event.step) for event in events):
            yield self._to("lost", self.begin, end)
            return
        at, phase, lost = self.begin, "starting", False
        for event in events:
            lost = lost or (event.kind in _WORK and not self._counts(event.step))
            until = min(max(event.time, at), max(end, at))  # clocks of two hosts may differ
            yield self._to("lost" if lost else _part(phase, event), at, until)
            at, phase = until, _next_phase(phase, event)
        yield self._to("lost" if lost or self._died else "starting", at, max(end, at))

    def _to(self, part: Part, begin: float, end: float) -> Stretch:
        return Stretch(part, begin, end, self.record.number)

    def _counts(self, step: int) -> bool:
        return self.kept_to is None or step <= self.kept_to

    @property
    def _died(self) -> bool:
        return self.record.outcome == "failed" or (self.record.outcome == "running" and not self.newest)


_WORK = ("pace", "step", "scalars")  # kinds of events whose step a later attempt may have cut
_SCORED = "scored"  # an evaluation is done; what follows, unless another phase begins, is the making of model/
_PHASES: Mapping[str, Part] = {
    "training": "training",
    "evaluating": "evaluating",
    "saving": "saving",
    _SCORED: "saving",
}


def _part(phase: str, event: Moment) -> Part:
    """What the time before an event went into: a step into training, a settled save into saving, else its phase."""
    match event.kind:
        case "pace" | "step":
            return "training"
        case "saved":
            return "saving"
        case "finished" if phase != "evaluating":
            return "saving"
    return _PHASES.get(phase, "starting")


def _next_phase(phase: str, event: Moment) -> str:
    if event.kind == "phase":
        return event.name
    return _SCORED if event.kind == "scalars" and phase == "evaluating" else phase


def coarse(stretches: Iterable[Stretch], finest_s: float) -> Iterator[Stretch]:
    """The same time with fewer stretches: those shorter than `finest_s`, and those of the same part,
    join the one before where it is of the same attempt."""
    open_: Stretch | None = None
    for stretch in stretches:
        if open_ is None:
            open_ = stretch
        elif open_.attempt == stretch.attempt and (stretch.seconds < finest_s or open_.part == stretch.part):
            open_ = replace(open_, end=stretch.end)
        else:
            yield open_
            open_ = stretch
    if open_ is not None:
        yield open_
