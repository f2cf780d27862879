"""Runs written by the very writers that training uses, with a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from biodist.config.writing import recipe_yaml
from biodist.metrics.events import EventLog
from biodist.metrics.samples import samples_digest
from biodist.plan.plan import Plan, write_plan
from biodist.run.folder import AttemptFolder, RunFolder
from biodist.run.jobs import SlurmJob, Submission
from biodist.run.records import AttemptRecord, Failure, Result

START = 1_800_000_000.0
Line = tuple[float, str, dict[str, Any]]  # when, kind, fields
Outcome = Literal["running", "finished", "stopped", "failed"]


@dataclass
class Author:
    """Writes one run. Times are seconds after START."""

    run: RunFolder
    plan: Plan
    start = START

    @staticmethod
    def phase(at: float, name: str) -> Line:
        """The attempt does something else."""
        return at, "phase", {"name": name}

    @staticmethod
    def made(at: float, number: int, loss: float = 0.5) -> Line:
        """A step was made."""
        digest = samples_digest([f"c:{number}"])
        counts = {"step": number, "epoch": 1, "count": 1, "tokens": 10, "samples": 1, "targets": 5}
        measures = {"loss": loss, "learning_rate": 1e-3, "grad_norm": 1.0, "seconds": 1.0}
        return at, "step", {**counts, **measures, "digest": digest}

    @staticmethod
    def scored(at: float, number: int, split: str, **values: Any) -> Line:
        """A split was scored."""
        return at, "scalars", {"step": number, "split": split, "values": values}

    def submit(self, job: str, at: float) -> None:
        """A submission with one job."""
        folder = self.run.new_job()
        jobs = (SlurmJob(job_id=job, submitted=START + at),)
        Submission(profile="cpu", nodes=1, world_size=1, command=("biodist", "submit"), jobs=jobs).save(
            folder.submission
        )

    def attempt(
        self,
        began: float,
        ended: float | None,
        outcome: Outcome,
        events: list[Line],
        job: str | None = None,
        restart: int = 0,
    ) -> AttemptFolder:
        """One attempt of one rank; its events are (time, kind, fields)."""
        folder = self.run.new_attempt()
        write_plan(self.plan, folder.plan)
        with EventLog(folder.events(0)) as log:
            for at, kind, fields in events:
                log.write(kind, **{"time": START + at, **fields})
        broke = outcome == "failed" and ended is not None
        AttemptRecord(
            number=folder.number,
            outcome=outcome,
            host="here",
            pid=1,
            world_size=1,
            strategy="ddp",
            started=START + began,
            ended=None if ended is None else START + ended,
            failure=Failure(rank=0, time=START, kind="error", message="it broke") if broke else None,
            job=job,
            restart=restart,
        ).save(folder.record)
        return folder

    def result(self, metrics: dict[str, Any], best: int) -> None:
        """The run is finished."""
        Result(
            status="finished",
            steps=best,
            samples_seen=8,
            tokens_seen=80,
            train_seconds=1.0,
            tokens_per_second=80.0,
            best_step=best,
            metrics=metrics,
        ).save(self.run.result)


@pytest.fixture
def author(tmp_path: Path, plans: Any) -> Callable[..., Author]:
    """Begins a run in runs/<name>: ``author("a", learning_rate=1e-3)``; the keywords are keys of ``train``."""

    def begin(name: str, **train: Any) -> Author:
        run = RunFolder(tmp_path / "runs" / name)
        run.root.mkdir(parents=True)
        command = ("biodist", "train", "small.yaml", "--run", "there", "--nproc", "1")
        plan = plans(1, **train).model_copy(update={"command": command})
        run.recipe.write_text(recipe_yaml(plan.recipe))
        run.attempts_root.mkdir()
        return Author(run, plan)

    return begin


@pytest.fixture
def seeds(author: Callable[..., Author]) -> Path:
    """Two learning rates with two seeds each, trained and scored; gives the folder of the four runs."""
    root = Path()
    for rate, f1 in ((1e-3, 0.8), (1e-2, 0.4)):
        for seed in (1, 2):
            run = author(f"{rate:g}-{seed}", learning_rate=rate, seed=seed)
            own = f1 + 0.1 * (seed - 1)
            events = [(1.0, "resumed", {"step": 0}), run.phase(2, "training")]
            events += [
                run.made(3, 1, loss=1.0),
                run.made(4, 2, loss=0.5),
                run.scored(5, 2, "validation", f1=own - 0.1, loss=0.7),
            ]
            events += [
                run.made(6, 3, loss=0.4),
                run.made(7, 4, loss=0.2),
                run.scored(8, 4, "validation", f1=own, loss=0.6),
            ]
            run.attempt(0, 9, "finished", events)
            by_class = {name: {"precision": own, "recall": own, "f1": own, "support": 10} for name in ("yes", "no<b>")}
            test = {"f1": own - 0.05, "loss": 0.65, "classes": by_class, "confusion": [[8, 2], [3, 7]]}
            run.result({"validation": {"f1": own, "loss": 0.6}, "test": test}, best=4)
            run.run.model.mkdir()
            root = run.run.root.parent
    return root
