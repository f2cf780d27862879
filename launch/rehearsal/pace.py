"""What a rehearsal measured, and what follows for the whole run. Seconds everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean, median

from biodist.config.profile import Profile
from biodist.plan.plan import Plan
from biodist.run.folder import RunFolder
from biodist.run.records import AttemptRecord, Record
from launch.timings import Timings, slow

VALIDATION, TEST = "validation", "test"


class Seconds(Record):
    """What things took; None where none was measured."""

    start_up: float | None  # of an attempt: from its launcher to its first step, median
    step_median: float | None  # of steps, the first of each attempt apart
    step_p95: float | None
    step_mean: float | None
    longest_save: float | None  # from its start until it is published
    save_stall: float | None  # of a save: the loop stood still, mean
    evaluation: float | None  # of the slice of the validation split, mean; the first of each attempt apart, if any


class Projection(Record):
    """The whole run at the rehearsal's pace: an estimate, as one step is not like another."""

    steps: int
    saves: int
    evaluations: int
    seconds: float  # start-ups, all steps, what saves hold up, evaluations of whole splits
    time_limit_min: int | None = None  # of a job; None where no cluster runs it
    jobs: int | None = None  # of that limit, each with its start-up and its end ahead of the limit; None: never done


def measured(runs: Iterable[RunFolder]) -> Seconds:
    """From the events of rank 0 in all their attempts. Raises RunFailed when a record is damaged."""
    attempts = [attempt for run in runs for attempt in run.attempts() if attempt.record.exists()]
    found = [(AttemptRecord.load(attempt.record).started, Timings.of(attempt)) for attempt in attempts]
    start_ups = [one.training_began - started for started, one in found if one.training_began is not None]
    steps = [step for _, one in found for step in one.steps]
    stalls = [stall for _, one in found for stall in one.stalls]
    evaluations = [seconds for _, one in found for seconds in one.evaluations]
    evaluations = evaluations or [one.first_evaluation for _, one in found if one.first_evaluation is not None]
    return Seconds(
        start_up=median(start_ups) if start_ups else None,
        step_median=median(steps) if steps else None,
        step_p95=slow(steps) if steps else None,
        step_mean=fmean(steps) if steps else None,
        longest_save=max((save for _, one in found for save in one.saves), default=None),
        save_stall=fmean(stalls) if stalls else None,
        evaluation=fmean(evaluations) if evaluations else None,
    )


def projection(plan: Plan, seconds: Seconds, score_samples: int) -> Projection:
    """Of the run that `plan` is for; `score_samples` are those of a scored split that the rehearsal scored."""
    total, profile = plan.batch.total_steps, plan.profile
    scored, at_end = _scored_steps(plan), _final_splits(plan)
    every = plan.recipe.checkpoint.every_steps
    saves = len({*range(every, total + 1, every), *scored, total})
    slices = sum(_times_slice(plan, split, score_samples) for split in [*[VALIDATION] * len(scored), *at_end])
    work = total * (seconds.step_mean or 0) + saves * (seconds.save_stall or 0) + slices * (seconds.evaluation or 0)
    start_up = seconds.start_up or 0
    jobs = _jobs(profile, work, start_up) if profile else None
    return Projection(
        steps=total,
        saves=saves,
        evaluations=len(scored) + len(at_end),
        seconds=(jobs or 1) * start_up + work,
        time_limit_min=profile.time_limit_min if profile else None,
        jobs=jobs,
    )


def _jobs(profile: Profile, work: float, start_up: float) -> int | None:
    """How many of its time limit; None where a job is asked to stop before it has begun."""
    whole = 60 * profile.time_limit_min - start_up  # of the last job, which ends before it is asked to
    usable = whole - profile.signal_lead_s
    if work <= whole:
        return 1
    return 1 + math.ceil((work - whole) / usable) if usable > 0 else None


def _scored_steps(plan: Plan) -> list[int]:
    """Steps after which the validation split is scored."""
    if VALIDATION not in plan.data.splits:
        return []
    every, total = plan.batch.evaluate_every_steps, plan.batch.total_steps
    return [*range(every, total, every), total]


def _final_splits(plan: Plan) -> list[str]:
    """Those scored once more at the end, with the best weights."""
    wanted = (VALIDATION, *((TEST,) if plan.recipe.evaluate.test else ()))
    return [split for split in wanted if split in plan.data.splits]


def _times_slice(plan: Plan, split: str, score_samples: int) -> float:
    """How many times as long as the slice of the validation split it takes to score a whole split."""
    measured_on = plan.data.splits.get(VALIDATION)
    slice_of = min(score_samples, measured_on.samples) if measured_on else score_samples
    return plan.data.splits[split].samples / max(1, slice_of)
