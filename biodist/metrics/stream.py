"""The stitched stream of a run: samples.jsonl, metrics.jsonl and tensorboard/, made of the attempts' events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from biodist.metrics.event_file import EventFile
from biodist.metrics.events import ScalarsEvent, StepEvent
from biodist.metrics.growing_file import GrowingFile, json_line
from biodist.metrics.samples import SampleChain, samples_digest, verify_chain
from biodist.metrics.stitching import Stitched, stitch, stitch_attempts
from biodist.run.folder import AttemptFolder, RunFolder

__all__ = [
    "TIME_FIELDS",
    "RunStream",
    "Stitched",
    "Totals",
    "flat_scores",
    "samples_digest",
    "stitch",
    "stitch_attempts",
    "verify_chain",
]

TRAIN = "train"
NESTED = ("types", "classes", "confusion", "corpora")  # of scores: by type, by class, gold against predicted, by corpus
TIME_FIELDS = ("seconds", "tokens_per_second")  # of metrics.jsonl: all that may differ between two equal runs


@dataclass(frozen=True)
class Totals:
    """Sums over the stitched steps: what the run trained on, and the seconds in training steps."""

    steps: int = 0
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def plus(self, event: StepEvent) -> Totals:
        return Totals(
            event.step, self.samples + event.samples, self.tokens + event.tokens, self.seconds + event.seconds
        )


class RunStream:
    """Written by rank 0 of the attempt that holds the run.

    Opening replays what earlier attempts left up to the step resumed from, through the same code that then takes
    live events; so a killed run's files cannot differ from an uninterrupted one's.
    """

    def __init__(self, run: RunFolder, started: float):
        self._chain = SampleChain()
        self._samples = GrowingFile(run.samples)
        self._metrics = GrowingFile(run.metrics)
        self._board = EventFile(run.tensorboard, started)
        self._step = 0
        self._splits: set[str] = set()  # written at self._step
        self.totals = Totals()

    @classmethod
    def open(
        cls,
        run: RunFolder,
        attempt: AttemptFolder,
        resumed_step: int,
        publishing: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> RunStream:
        """Rewrites the three from the attempts before `attempt`, cut at `resumed_step`, each put in place whole.

        `publishing` is entered for that, and raises where this attempt may no longer write. From then on it writes to
        its own open files, which whoever replaces it takes out of the run's folder.

        Raises RunFailed when an earlier attempt's events are damaged, naming file and line.
        """
        earlier = [other for other in run.attempts() if other.number < attempt.number]
        stitched = stitch_attempts(earlier, resumed_step)
        stream = cls(run, stitched.started or time.time())
        try:
            for event in stitched.events():
                stream._append(event)
            stream._go_to(resumed_step)
            with publishing():
                stream._publish()
        except BaseException:
            stream.close()
            raise
        return stream

    def step(self, event: StepEvent) -> None:
        """Appends a step. Raises ValueError when it does not follow the last one."""
        if event.step != self._step + 1:
            raise ValueError(f"step must be {self._step + 1}, but is {event.step}")
        self._append(event)

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Appends scores of `split` after `step`, the last one trained; what the stream already has stays.

        `values` may nest: see `flat_scores`. Raises ValueError for any other step: the stream is monotone.
        """
        if step != self._step:
            raise ValueError(f"scalars of {split} must be of step {self._step}, but are of step {step}")
        self._append(ScalarsEvent(step, split, values))

    def has(self, step: int, split: str) -> bool:
        """Whether `split` was scored at `step`, the last one trained (a kill can fall between a save and a score)."""
        return step == self._step and split in self._splits

    def flush(self) -> None:
        """Makes what is written outlive a power cut."""
        for part in (self._samples, self._metrics, self._board):
            part.sync()

    def close(self) -> None:
        for part in (self._samples, self._metrics, self._board):
            part.close()

    def __enter__(self) -> RunStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _publish(self) -> None:
        for part in (self._samples, self._metrics, self._board):
            part.publish()

    def _append(self, event: StepEvent | ScalarsEvent) -> None:
        split = TRAIN if isinstance(event, StepEvent) else event.split
        if not self._is_new(event.step, split):
            return
        if isinstance(event, StepEvent):
            self._samples.write(self._chain.line(event))
            self.totals = self.totals.plus(event)
            values = _train_values(event)
        else:
            values = flat_scores(event.values)
        self._metrics.write(json_line({"step": event.step, "split": split, **values}))
        # Counts (tokens, support, confusion) are for tables; a chart of them would only crowd the page.
        charted = {f"{split}/{name}": value for name, value in values.items() if isinstance(value, float)}
        self._board.scalars(event.step, event.time, charted)

    def _is_new(self, step: int, split: str) -> bool:
        """A resumed attempt may score a step that an earlier one had scored before it was killed: the first stands."""
        self._go_to(step)
        if step < self._step or split in self._splits:
            return False
        self._splits.add(split)
        return True

    def _go_to(self, step: int) -> None:
        if step > self._step:
            self._step, self._splits = step, set()


def flat_scores(values: Mapping[str, Any]) -> dict[str, float]:
    """Scores by name: `{"f1": 0.9, "types": {"Disease": {"f1": 0.8}}}` becomes `{"f1": 0.9, "f1/Disease": 0.8}`.

    `classes` nests as `types` does; `confusion[gold][predicted]` becomes `confusion/GOLD/PREDICTED`, by the names of
    the classes; `corpora: {"ncbi": {"f1": 0.9}}` becomes `ncbi.f1`, a corpus's own types left out. Strings are numbers
    that JSON cannot hold ("nan", "inf"); raises ValueError for any other.
    """
    flat = {name: _number(value) for name, value in values.items() if name not in NESTED}
    for kind, scores in {**values.get("types", {}), **values.get("classes", {})}.items():
        flat.update({f"{name}/{kind}": _number(value) for name, value in scores.items()})
    names = list(values.get("classes", {}))
    for gold, row in zip(names, values.get("confusion", ()), strict=False):
        flat.update({f"confusion/{gold}/{said}": _number(count) for said, count in zip(names, row, strict=True)})
    for corpus, scores in values.get("corpora", {}).items():
        flat.update({f"{corpus}.{name}": _number(value) for name, value in scores.items() if name not in NESTED})
    return flat


def _number(value: Any) -> float:
    return value if isinstance(value, int) else float(value)


def _train_values(event: StepEvent) -> dict[str, float]:
    return {
        "loss": event.loss,
        "learning_rate": event.learning_rate,
        "grad_norm": event.grad_norm,
        "tokens": event.tokens,
        "samples": event.samples,
        "seconds": event.seconds,
        "tokens_per_second": event.tokens / event.seconds if event.seconds else 0.0,
    }
