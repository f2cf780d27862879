"""A place where trials are paper: every look at them writes their next score. It outlives any driver, and counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from biodist.config.document import parse_document
from biodist.config.sweep_loading import StatedSweep, load_sweep
from biodist.plan.plan import Plan, write_plan
from biodist.run.folder import RunFolder
from biodist.run.lease import Lease
from biodist.run.records import AttemptRecord, Result
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.backend import Launch, Note, Refused
from biodist.sweeps.driver import Driver, Ending
from biodist.sweeps.ledger import AnyEvent, Ledger, Started, read_ledger
from biodist.sweeps.schedulers import Pace

EVALUATIONS = 4  # of a trial, every 10 of its 40 steps
STEPS = 40
SWEEP = """\
name: paper
recipe: recipe.yaml
space:
  train.learning_rate: {loguniform: [1e-4, 1e-2]}
  train.schedule: {choice: [linear, cosine, constant]}
  train.warmup_ratio: {uniform: [0.0, 0.5], when: {train.schedule: [linear, cosine]}}
search: {searcher: tpe, scheduler: asha, trials: 12, concurrency: 3, seed: 7}
"""


class Killed(BaseException):
    """The driver is gone: nothing of it runs on, not even what would clean up."""


class MortalLedger(Ledger):
    """Dies before or after its n-th line, and stays dead."""

    def __init__(self, path: Path, at: int, before: bool) -> None:
        super().__init__(path)
        self.left, self.before = at, before

    def append(self, event: AnyEvent) -> None:
        self.left -= 1
        if self.left < 0 or (self.left == 0 and self.before):
            raise Killed
        super().append(event)
        if self.left == 0:
            raise Killed


@dataclass
class Paper:
    """The world: it starts what it is told, and refuses nothing, so that it can bear witness."""

    folder: SweepFolder
    plan: Plan
    noted_first: bool  # as processes here, whose gate opens once they are noted; jobs are noted after
    failing: frozenset[int] = frozenset()  # numbers of trials that fail whenever they are started
    slots: int = 3
    gpus: float = 0.0
    look_every_s: float = 0.0
    ends_with_driver: bool = False
    stubborn: bool = False  # goes on when asked to stop
    progress: dict[str, int] = field(default_factory=dict)  # evaluations made; only those that live
    starts: Counter[str] = field(default_factory=Counter)
    stopped: list[str] = field(default_factory=list)

    def adopt(self, started: Mapping[str, Started | None]) -> set[str]:
        return set(started) & set(self.progress)

    def start(self, launches: Sequence[Launch], note: Note) -> list[Refused]:
        for launch in launches:
            if self.noted_first:
                note(Started(key=launch.key, job=launch.key))
            assert launch.key not in self.progress, f"trial {launch.key} runs twice"
            self.starts[launch.key] += 1
            self.progress[launch.key] = 0
            self._begin(launch)
            if not self.noted_first:
                note(Started(key=launch.key, job=launch.key))
        return []

    def living(self, keys: Sequence[str]) -> set[str]:
        for key in list(self.progress):
            self._go_on(key)
        return set(keys) & set(self.progress)

    def stop(self, key: str) -> None:
        if not self.stubborn:
            self.kill([key])

    def kill(self, keys: Sequence[str]) -> None:
        for key in keys:
            if self.progress.pop(key, None) is not None:
                self.stopped.append(key)

    def close(self) -> None:
        pass

    def _begin(self, launch: Launch) -> None:
        run = launch.run
        run.root.mkdir(exist_ok=True)
        attempt = run.new_attempt()
        write_plan(self.plan, attempt.plan)
        record = AttemptRecord(
            **{"number": attempt.number, "outcome": "running", "host": "paper", "pid": 1, "world_size": 1},
            **{"strategy": "ddp", "started": 0.0, "job": "1"},
        )
        record.save(attempt.record)
        (run.root / "words").write_text("\n".join(launch.overrides))

    def _go_on(self, key: str) -> None:
        run, number = self.folder.trial(key), int(key.rpartition("-")[2])
        if number in self.failing:
            del self.progress[key]
            return
        self.progress[key] += 1
        step = self.progress[key] * STEPS // EVALUATIONS
        line = {"step": step, "split": "validation", "f1": score(run, step)}
        with run.metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.progress[key] == EVALUATIONS:
            del self.progress[key]
            Result(
                **{"status": "finished", "steps": STEPS, "samples_seen": 1, "tokens_seen": 1},
                **{"train_seconds": 1.0, "tokens_per_second": 1.0},
            ).save(run.result)


def score(run: RunFolder, step: int) -> float:
    """Higher for learning rates near 1e-3, and with every step."""
    words = dict(word.split("=", 1) for word in (run.root / "words").read_text().splitlines())
    rate = float(words["train.learning_rate"])
    return round(step / STEPS / (1 + abs(rate - 1e-3) * 1000) + int(words.get("train.seed", 0)) * 1e-6, 9)


@dataclass
class Bench:
    """Drives a paper sweep in a folder of its own."""

    stated: StatedSweep
    world: Paper
    folder: SweepFolder
    driver: type[Driver] = Driver
    said: list[str] = field(default_factory=list)

    def drive(self, open_ledger: Callable[[Path], Ledger] = Ledger) -> Ending:
        """One driver's time. Raises Killed."""
        with Lease.acquire(self.folder.driver, beat_s=60) as lease:
            driver = self.driver(
                **{"folder": self.folder, "stated": self.stated, "pace": Pace(10, STEPS), "backend": self.world},
                **{"lease": lease, "changed": lambda search: None, "say": self.said.append},
                open_ledger=open_ledger,
            )
            return driver.run()

    def events(self) -> list[AnyEvent]:
        return list(read_ledger(self.folder.ledger))

    def told(self, kind: str) -> list[Any]:
        return [event for event in self.events() if event.kind == kind]

    def results(self) -> list[tuple[Any, ...]]:
        """What became of every trial, by number."""
        ends = {event.key: event for event in self.told("ended")}
        return [
            (intent.key, intent.settings, ends[intent.key].state, ends[intent.key].steps, ends[intent.key].value)
            for intent in self.told("intent")
        ]


@pytest.fixture
def paper_recipe(plans: Any, tmp_path: Path) -> Path:
    from biodist.config.writing import recipe_yaml

    recipe = plans.recipe()
    validation = recipe.data.train[0].model_copy(update={"name": "validation"})
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"validation": (validation,)})})
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(recipe))
    return path


@pytest.fixture
def stated(paper_recipe: Path) -> Callable[..., StatedSweep]:
    """The paper sweep with overrides."""
    path = paper_recipe.with_name("sweep.yaml")
    path.write_text(SWEEP)
    return lambda *words: load_sweep(path, words)


@pytest.fixture
def bench(stated: Callable[..., StatedSweep], plans: Any, tmp_path: Path) -> Callable[..., Bench]:
    """Makes a sweep in a folder: ``bench("search.trials=4", noted_first=False)``."""
    plan = plans(1, max_steps=STEPS)
    made: list[Bench] = []

    def make(*words: str, driver: type[Driver] = Driver, **world: Any) -> Bench:
        folder = SweepFolder.prepare(tmp_path / f"sweep-{len(made)}")
        one = stated(*words)
        world.setdefault("noted_first", True)
        world.setdefault("slots", one.sweep.search.concurrency)
        made.append(Bench(one, Paper(folder, plan, **world), folder, driver))
        return made[-1]

    return make


@pytest.fixture
def sweep_document() -> Any:
    return parse_document(SWEEP, "sweep.yaml")
