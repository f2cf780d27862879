"""What the steps, saves and evaluations of an attempt took, by the events of its rank 0. Seconds everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from biodist.run.durable import read_json_lines
from biodist.run.folder import AttemptFolder

_SCORED = "validation"


@dataclass(frozen=True)
class Timings:
    """In the order they came. What warms up stands apart: an attempt's first step, its first evaluation."""

    training_began: float | None  # UNIX seconds; None: it did not come so far
    steps: tuple[float, ...]
    saves: tuple[float, ...]  # from their start until they are published
    stalls: tuple[float, ...]  # what of a save the steps waited for
    evaluations: tuple[float, ...]
    first_evaluation: float | None

    @classmethod
    def of(cls, attempt: AttemptFolder) -> Timings:
        """Nothing before it has begun to write. Raises RunFailed when a line is damaged."""
        began: float | None = None
        evaluating: float | None = None
        steps: list[float] = []
        saves: list[tuple[float, float]] = []
        evaluations: list[float] = []
        for event in read_json_lines(attempt.events(0)):
            match event.get("kind"), event.get("name"):
                case "phase", "training" if began is None:
                    began = event["time"]
                case "phase", "evaluating":
                    evaluating = event["time"]
                case "scalars", _ if event["split"] == _SCORED and evaluating is not None:
                    evaluations.append(event["time"] - evaluating)
                case "step", _:
                    steps.append(event["seconds"])
                case "saved", _:
                    saves.append((event["seconds"], event["stall_seconds"]))
        return cls(
            training_began=began,
            steps=tuple(steps[1:]),
            saves=tuple(seconds for seconds, _ in saves),
            stalls=tuple(stall for _, stall in saves),
            evaluations=tuple(evaluations[1:]),
            first_evaluation=evaluations[0] if evaluations else None,
        )


def slow(seconds: Sequence[float]) -> float:
    """What 95 of 100 stay below; of at least one."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]
