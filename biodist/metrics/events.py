"""What one rank did, line by line: the only record that metrics, samples and TensorBoard are made of."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from biodist.errors import Problem, RunFailed
from biodist.metrics.growing_file import finite_json
from biodist.run.durable import JsonLines, read_json_lines


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One optimizer step, as rank 0 tells it for all ranks.

    `digest` is `samples_digest` of the ids of the `count` samples that reached forward; `tokens` were fed to the
    model (special ones included, padding not); `targets` counted in the loss; `seconds` is time in the step;
    `time` is UNIX seconds.
    """

    step: int
    epoch: int
    count: int
    digest: str
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    samples: int
    targets: int
    seconds: float
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class ScalarsEvent:
    """Scores of a split after `step`: `{"f1": 0.9, "types": {"Disease": {"f1": 0.9}}}`; `time` is UNIX seconds.

    Scores of classes hold `classes` in the place of `types`, and, of one class a sample, `confusion` (rows gold,
    columns predicted). Scores over several corpora hold `corpora`: the same for each.
    """

    step: int
    split: str
    values: Mapping[str, Any]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class ResumedEvent:
    """The attempt goes on from `step` (0: from the start). Stands before its first step."""

    step: int
    time: float = field(default_factory=time.time)


Event = StepEvent | ScalarsEvent | ResumedEvent

_STEP_FLOATS = ("loss", "learning_rate", "grad_norm", "seconds", "time")
_STEP_INTS = ("step", "epoch", "count", "tokens", "samples", "targets")


class EventLog:
    """Append-only JSON lines of one rank, `attempts/NNNN/events-rank-R.jsonl`.

    A line is handed to the system whole, so it outlives a killed process; `sync` makes it outlive a power cut and
    is called before a checkpoint that counts on it is published. Opening a file that a kill tore cuts the torn line.
    NaN and the infinities are written as the strings "nan", "inf" and "-inf". Raises OSError when the disk is full.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lines = JsonLines(path)

    def write(self, kind: str, **fields: Any) -> None:
        """Appends `{"time": now, "kind": kind, **fields}`; a `time` among the fields stands instead of now."""
        self._lines.append(finite_json({"time": time.time(), "kind": kind} | fields))

    def step(self, event: StepEvent) -> None:
        self.write("step", **asdict(event))

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        self.write("scalars", step=step, split=split, values=values)

    def resumed(self, step: int) -> None:
        self.write("resumed", step=step)

    def sync(self) -> None:
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_events(path: Path) -> Iterator[Event]:
    """The steps, scalars and resumptions of one rank, in order, without a torn last line; nothing without a file.

    Other kinds are passed over. Raises RunFailed, naming file and line, where a whole line is no event.
    """
    for number, line in enumerate(read_json_lines(path), start=1):
        try:
            event = _parse(line)
        except (KeyError, TypeError, ValueError):
            what, do = "the line is not a whole event", "restore the file, or start a new run"
            raise RunFailed(str(Problem(f"{path}:{number}", what, do))) from None
        if event is not None:
            yield event


def _parse(line: dict[str, Any]) -> Event | None:
    match line["kind"]:
        case "step":
            counts = {name: int(line[name]) for name in _STEP_INTS}
            measures = {name: float(line[name]) for name in _STEP_FLOATS}
            return StepEvent(digest=str(line["digest"]), **counts, **measures)  # type: ignore[arg-type]
        case "scalars":
            return ScalarsEvent(int(line["step"]), str(line["split"]), dict(line["values"]), float(line["time"]))
        case "resumed":
            return ResumedEvent(int(line["step"]), float(line["time"]))
    return None
