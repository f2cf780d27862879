"""What a run's wall time went into, and the steps it had to make again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from biodist.aggregation.look import Part
from biodist.report.timeline import Steps, Stretch, Timeline

PARTS: Mapping[Part, str] = {
    "training": "optimizer steps that count",
    "evaluating": "scoring validation and test",
    "saving": "standing still for a checkpoint or for the model's export",
    "starting": "processes, data, model and optimizer coming up, and going down",
    "queue": "waiting in the cluster's queue, since the submission or since a preemption",
    "idle": "nobody had asked for the run to go on",
    "lost": "made and thrown away: after the last checkpoint of an attempt that was killed, preempted or failed",
}
"""Every part of the time, in the order it is shown, and what it is."""


@dataclass(frozen=True)
class Goodput:
    """Seconds by part; together they are the wall time, from the first submission or start to the last sign of life."""

    seconds: Mapping[Part, float]
    steps: Steps

    @property
    def wall_s(self) -> float:
        return sum(self.seconds.values())

    @property
    def machine_s(self) -> float:
        """While an attempt was alive: the wall time without queue and idle."""
        return self.wall_s - self.seconds["queue"] - self.seconds["idle"]

    @property
    def share(self) -> float | None:
        """Training that counts, of the time an attempt was alive; None before the first."""
        return self.seconds["training"] / self.machine_s if self.machine_s else None


def goodput(line: Timeline) -> Goodput:
    """Of one run."""
    return Goodput(_by_part(line.stretches), line.steps)


def together(several: Iterable[Goodput]) -> Goodput:
    """Of many runs: the sums. Runs at the same time count each for itself."""
    seconds: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
    kept = repeated = 0
    for one in several:
        kept, repeated = kept + one.steps.kept, repeated + one.steps.repeated
        for part, length in one.seconds.items():
            seconds[part] += length
    return Goodput(seconds, Steps(kept, repeated))


def _by_part(stretches: Iterable[Stretch]) -> dict[Part, float]:
    seconds: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
    for stretch in stretches:
        seconds[stretch.part] += stretch.seconds
    return seconds
