"""What an attempt leaves on record: every rank its events, rank 0 the run's stream and the best step so far."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from biodist.metrics.events import EventLog, ScalarsEvent, StepEvent
from biodist.metrics.stitching import stitch_attempts
from biodist.metrics.stream import RunStream, Totals, flat_scores
from biodist.plan.plan import Plan
from biodist.run.folder import AttemptFolder
from biodist.training.placement import Placement
from biodist.training.steps import StepDone

VALIDATION = "validation"
CHECKPOINT = "checkpoint"


class Recorder:
    """One rank's record of an attempt. The stream and the scores exist on rank 0 alone."""

    def __init__(self, attempt: AttemptFolder, plan: Plan, placement: Placement):
        self._attempt = attempt
        self._plan = plan
        self._leads = placement.leads
        self._fence = placement.fence
        self._log = EventLog(attempt.events(placement.rank))
        self._stream: RunStream | None = None
        self._scores: dict[int, float] = {}
        self.step_reached = 0
        self._log.write(
            "started",
            rank=placement.rank,
            world_size=placement.world_size,
            pid=os.getpid(),
            host=socket.gethostname(),
        )

    def phase(self, name: str, **fields: Any) -> None:
        """Names what the attempt does next, for whoever watches it."""
        self._log.write("phase", name=name, **fields)

    def resume(self, step: int) -> None:
        """The attempt goes on after ``step``; what earlier attempts wrote past it is cut."""
        self.step_reached = step
        if not self._leads:
            return
        self._fence.check()
        self._log.resumed(step)
        self._stream = RunStream.open(self._attempt.run, self._attempt, step, self._fence.hold)
        earlier = [a for a in self._attempt.run.attempts() if a.number < self._attempt.number]
        for event in stitch_attempts(earlier, step).events():
            if isinstance(event, ScalarsEvent) and event.split == VALIDATION:
                self._scores[event.step] = self._chosen(event.values)

    def step(self, done: StepDone) -> None:
        """One optimizer step: of this rank its pace, of all ranks together what the stream is made of."""
        self.step_reached = done.step
        self._log.write("pace", step=done.step, **asdict(done.pace))
        if self._stream is None:
            return
        event = StepEvent(
            step=done.step,
            epoch=done.epoch,
            count=done.count,
            digest=done.digest,
            loss=done.loss,
            learning_rate=done.learning_rate,
            grad_norm=done.grad_norm,
            tokens=done.tokens,
            samples=done.count,
            targets=done.targets,
            seconds=done.seconds,
        )
        self._log.step(event)
        self._stream.step(event)

    def scores(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """A split was scored after ``step``."""
        if self._stream is None:
            return
        self._log.scalars(step, split, values)
        self._stream.scalars(step, split, values)
        if split == VALIDATION:
            self._scores[step] = self._chosen(values)

    def _chosen(self, values: Mapping[str, Any]) -> float:
        """The score that chooses the best model: over all corpora, of one of them, or their mean."""
        return float(flat_scores(values)[self._plan.recipe.evaluate.metric])

    def saved(self, step: int, saved_step: int, bytes: int, seconds: float, stall_seconds: float) -> None:
        """The checkpoint of ``saved_step`` was published; said after ``step``, the last one trained.

        ``seconds`` from its start to its publication; ``stall_seconds`` of them the loop stood still.
        """
        self._log.write("saved", step=saved_step, bytes=bytes, seconds=seconds, stall_seconds=stall_seconds)
        cost = {
            "checkpoint_step": saved_step,
            "checkpoint_bytes": bytes,
            "checkpoint_seconds": seconds,
            "checkpoint_stall_seconds": stall_seconds,
        }
        if self._stream is not None:
            self._log.scalars(step, CHECKPOINT, cost)
            self._stream.scalars(step, CHECKPOINT, cost)

    def finished(self, step: int) -> None:
        self._log.write("finished", step=step)

    def scored(self, step: int) -> bool:
        """Whether validation was scored after ``step`` (rank 0 knows)."""
        return step in self._scores

    def best_steps(self) -> list[int]:
        """Scored steps, best first; of equal ones the earlier first (rank 0 knows)."""
        sign = -1.0 if self._plan.recipe.evaluate.mode == "max" else 1.0
        scored = {step: sign * score for step, score in self._scores.items() if not math.isnan(score)}
        return sorted(scored, key=lambda step: (scored[step], step))

    @property
    def totals(self) -> Totals:
        """Sums over all steps of the run (rank 0)."""
        assert self._stream is not None
        return self._stream.totals

    def sync(self) -> None:
        """What is on record outlives a power cut: called before a checkpoint that counts on it is published."""
        self._log.sync()
        if self._stream is not None:
            self._stream.flush()

    def close(self) -> None:
        self._log.close()
        if self._stream is not None:
            self._stream.close()
