"""The harness under measurement: ``biodist train`` as a person starts it, and what it leaves on record."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from material import Material

from biodist.errors import RunFailed
from biodist.metrics.events import StepEvent, read_events
from biodist.plan.plan import Plan, read_plan
from biodist.run.durable import read_json_lines
from biodist.run.folder import RunFolder

RECIPE = "ncbi-disease"
NO_SAVES = 1_000_000  # steps: only the last one is saved, after the last step is on record
TAIL = 2000  # characters of a log that a failure shows


@dataclass(frozen=True)
class Training:
    """A run of one attempt."""

    plan: Plan
    steps: tuple[StepEvent, ...]
    seconds: float  # from the start of training to the end of its last step, all between the steps included

    @property
    def tokens(self) -> int:
        """Fed to the model, special ones included, padding not."""
        return sum(step.tokens for step in self.steps)


def encoder_overrides(material: Material) -> Iterator[str]:
    """One process, the encoder, windows as long as the peer's."""
    yield "distributed.strategy=ddp"
    yield f"model.name={material.encoder}"
    yield "data.max_length=256"


def training_only(train: Path, max_steps: int, batch: int, learning_rate: float, precision: str) -> Iterator[str]:
    """Overrides of a run that trains so many steps and neither scores nor, before its end, saves."""
    yield f"data.train.0.path={train}"
    yield from ("data.validation=[]", "data.test=[]", "evaluate.test=false")
    yield from ("train.epochs=null", f"train.max_steps={max_steps}", f"train.global_batch={batch}")
    yield from (f"train.learning_rate={learning_rate}", f"train.precision={precision}")
    yield from (f"checkpoint.every_steps={NO_SAVES}", "checkpoint.keep_best=0")


def train(run: Path, overrides: Sequence[str], log: Path | None = None) -> RunFolder:
    """Trains in one process; an unfinished run goes on, a finished one is left as it is.

    What the command says goes to ``log``, or to this process's own output.

    Raises:
        RunFailed: the command did not end with 0; with the end of its log.
    """
    command = [sys.executable, "-m", "biodist.cli", "train", RECIPE, *overrides, "--run", str(run), "--nproc", "1"]
    if log is None:
        code, said = subprocess.run(command).returncode, ""
    else:
        with log.open("wb") as file:
            code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
        said = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    if code:
        raise RunFailed(f"biodist train ended with {code}\n{said}".rstrip())
    return RunFolder(run.absolute())


def read_training(run: RunFolder) -> Training:
    """What the only attempt of a run says of itself.

    Raises:
        RunFailed: the run has several attempts, so that no one stretch of time holds its steps.
    """
    attempts = run.attempts()
    if len(attempts) != 1:
        raise RunFailed(f"{run.root}: {len(attempts)} attempts, must be one; remove the folder and start again")
    events = attempts[0].events(0)
    steps = tuple(event for event in read_events(events) if isinstance(event, StepEvent))
    phases = [line for line in read_json_lines(events) if line["kind"] == "phase" and line["name"] == "training"]
    return Training(read_plan(attempts[0].plan), steps, steps[-1].time - phases[0]["time"])
