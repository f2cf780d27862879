"""How far a run has come, by its files alone: from anywhere that sees the folder, while others write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biodist.plan.plan import Plan
from biodist.run.folder import AttemptFolder, RunFolder
from launch.progress import Standing

_RECENT_BYTES = 1 << 16  # of an events file: a few hundred steps, whatever its length
_CHECKPOINT = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Score:
    """The best score of the validation split so far, by the recipe's metric."""

    metric: str
    value: float
    step: int


@dataclass(frozen=True)
class Achieved:
    """What a run has to show. Steps count from 1; 0: none made."""

    total_steps: int
    step: int = 0
    phase: str = ""  # of the newest attempt
    loss: float | None = None
    seconds_left: float | None = None  # of training steps, at the pace of the last ones
    checkpoint_step: int | None = None  # the newest one that was published
    next_checkpoint_step: int | None = None
    best: Score | None = None


def achieved(run: RunFolder, plan: Plan) -> Achieved:
    """Reads it; `plan` is the newest attempt's, or the submission's. Raises OSError."""
    total = plan.batch.total_steps
    standing, phase = _newest_standing(run, total)
    saved = max(published_steps(run), default=None)
    return Achieved(
        total_steps=total,
        step=standing.step,
        phase=phase,
        loss=standing.loss,
        seconds_left=standing.seconds_left,
        checkpoint_step=saved,
        next_checkpoint_step=_next_checkpoint(standing.step, plan.recipe.checkpoint.every_steps, total),
        best=_best(run.metrics, plan.recipe.evaluate.metric, plan.recipe.evaluate.mode),
    )


def published_steps(run: RunFolder) -> list[int]:
    """The steps of all checkpoints under their final names; one is given its name once it is whole."""
    if not run.checkpoints.is_dir():
        return []
    names = (_CHECKPOINT.fullmatch(path.name) for path in run.checkpoints.iterdir())
    return sorted(int(name[1]) for name in names if name)


def _newest_standing(run: RunFolder, total_steps: int) -> tuple[Standing, str]:
    """By the newest attempt that got as far as a step; the phase is the newest attempt's."""
    phase = ""
    for attempt in reversed(run.attempts()):
        standing = Standing(total_steps)
        for event in recent_events(attempt):
            standing.take(event)
        if standing.loss is not None and standing.phase == "starting":
            standing.phase = "training"  # its beginning lies before what was read
        phase = phase or standing.phase
        if standing.step or standing.loss is not None:
            return standing, phase
    return Standing(total_steps), phase


def recent_events(attempt: AttemptFolder) -> Iterator[dict[str, Any]]:
    """The last events of rank 0; nothing before it has begun to write."""
    try:
        with attempt.events(0).open("rb") as file:
            start = max(0, file.seek(0, 2) - _RECENT_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return
    # The first line may lack its beginning, the last one its end.
    for line in lines[1 if start else 0 : -1]:
        yield json.loads(line)


def _next_checkpoint(step: int, every_steps: int, total_steps: int) -> int | None:
    if step >= total_steps:
        return None
    return min((step // every_steps + 1) * every_steps, total_steps) if every_steps else total_steps


def _best(metrics: Path, name: str, mode: str) -> Score | None:
    best: Score | None = None
    for line in _validations(metrics):
        if (value := line.get(name)) is None or line.get("split") != "validation":
            continue
        if best is None or (value > best.value if mode == "max" else value < best.value):
            best = Score(name, value, line["step"])
    return best


def _validations(metrics: Path) -> Iterator[dict[str, Any]]:
    """Most lines are of training steps: only the others are parsed."""
    try:
        with metrics.open("rb") as file:
            for line in file:
                if b'"validation"' in line and line.endswith(b"\n"):
                    yield json.loads(line)
    except FileNotFoundError:
        return
