"""The command line as a person meets it: real processes, a tiny corpus, and runs that several tests look at."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from biodist.metrics.stream import TIME_FIELDS

MARKER = "zzpatient"  # stands in every sentence of the training corpus and must never leave it
STEPS = 120
SLOW_S = 120.0  # how long a process may take on a busy machine
RECIPE = f"""\
name: tiny
task: ner
model:
  init: scratch
  scratch: {{layers: 2, hidden_size: 32, heads: 2, intermediate_size: 64, vocab_size: 200, max_positions: 64}}
  dropout: 0.1
data:
  max_length: 32
  stride: 8
  labels: [Disease]
  train: [{{path: train.tsv, format: iob2, name: tiny}}]
  validation: [{{path: validation.tsv, format: iob2, name: tiny}}]
  test: [{{path: test.tsv, format: iob2, name: tiny}}]
train: {{max_steps: {STEPS}, global_batch: 6, learning_rate: 1e-3, micro_batch: 2}}
checkpoint: {{every_steps: 10, keep_last: 3}}
evaluate: {{every: 45}}
"""


@dataclass(frozen=True)
class Said:
    """What a command left behind when it ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Started:
    """A command that runs."""

    process: subprocess.Popen[str]
    run: Path

    def attempt(self) -> Path:
        return max((self.run / "attempts").iterdir())

    def wait_for(self, there: Callable[[], Any], what: str) -> Any:
        """Looks until ``there()`` gives something; fails when the command ends before."""
        deadline = time.monotonic() + SLOW_S
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            if found := there():
                return found
            if ended:
                pytest.fail(f"ended before {what}: {self.said()}", pytrace=False)
            time.sleep(0.005)
        pytest.fail(f"never came: {what}", pytrace=False)

    def wait_for_step(self, step: int, attempt: int) -> None:
        """Returns as soon as ``step`` is made, in the attempt of this number."""
        events = self.run / "attempts" / f"{attempt:04d}" / "events-rank-0.jsonl"
        self.wait_for(lambda: last_step(events) >= step, f"step {step}")

    def said(self) -> Said:
        """Waits for its end."""
        out, err = self.process.communicate(timeout=SLOW_S)
        return Said(self.process.returncode, out, err)


@dataclass
class Terminal:
    """A folder where commands are run, and a cache of its own."""

    folder: Path
    cache: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *arguments: str, program: tuple[str, ...] = ("-m", "biodist.cli")) -> Said:
        """Runs a command to its end."""
        process = self._popen(arguments, program)
        try:
            out, err = process.communicate(timeout=SLOW_S)
        finally:
            process.kill()
        return Said(process.returncode, out, err)

    def train(self, run: str, nproc: int, *overrides: str, device: str = "cpu") -> Said:
        """Trains the tiny recipe in ``run`` to whatever end it comes to."""
        return self.run(*train_arguments(run, nproc, overrides, device))

    def start(self, run: str, nproc: int, *overrides: str) -> Started:
        """Begins to train the tiny recipe in ``run``."""
        process = self._popen(train_arguments(run, nproc, overrides, "cpu"), ("-m", "biodist.cli"))
        return Started(process, self.folder / run)

    def _popen(self, arguments: tuple[str, ...], program: tuple[str, ...]) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            **{"BIODIST_CACHE": str(self.cache), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"},
        }
        process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """Ends what a failed test left running; workers die with their launcher."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=30)


def train_arguments(run: str, nproc: int, overrides: tuple[str, ...], device: str) -> tuple[str, ...]:
    return ("train", "tiny.yaml", *overrides, "--run", run, "--nproc", str(nproc), "--device", device)


def last_step(events: Path) -> int:
    if not events.exists():
        return 0
    steps = (json.loads(line) for line in events.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))
    return max((event["step"] for event in steps if event["kind"] == "step"), default=0)


def workers_of(attempt: Path, world_size: int) -> list[int]:
    """Process ids of an attempt's ranks, by their own word."""
    logs = (attempt / f"events-rank-{rank}.jsonl" for rank in range(world_size))
    return [json.loads(log.read_text().splitlines()[0])["pid"] for log in logs]


def alive(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def sentences(seed: int, number: int) -> str:
    """Tagged sentences: mentions after `severe` are Disease, and a fifth of the others, so that no model gets all."""
    draw = random.Random(seed)
    names = ["fibrosis", "anaemia", "asthma", "gout", "mild"]
    plain = ["patients", "with", "the", "were", "treated", "for", "and", "in"]
    lines = []
    for _ in range(number):
        lines.append(f"{MARKER}\tO\n")
        for _ in range(draw.randint(2, 6)):
            severe = draw.random() < 0.5
            tag = "B-Disease" if severe or draw.random() < 0.2 else "O"
            lines.append(f"{'severe' if severe else draw.choice(plain)}\tO\n{draw.choice(names)}\t{tag}\n")
        lines.append("\n")
    return "".join(lines)


def write_corpus(folder: Path) -> None:
    for seed, (split, number) in enumerate({"train": 60, "validation": 20, "test": 20}.items()):
        (folder / f"{split}.tsv").write_text(sentences(seed, number))
    (folder / "tiny.yaml").write_text(RECIPE)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its size and the time it was last written, in ns."""
    return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def proof(run: Path) -> dict[str, Any]:
    """What must be the same for an undisturbed and a disturbed run: weights, samples, metrics without their times.

    Lines of split `checkpoint` say what a save cost, and stand where it was settled: of the attempt, not of the run.
    """
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": json.loads((run / "result.json").read_text())["weights_sha256"],
        "samples": (run / "samples.jsonl").read_text(),
        "metrics": [
            {name: value for name, value in line.items() if name not in TIME_FIELDS}
            for line in lines
            if line["split"] != "checkpoint"
        ],
    }


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed, what it said, and what a second command on it was told while it ran."""

    run: Path
    said: Said
    second: Said


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Where runs lie that several tests look at."""
    folder = tmp_path_factory.mktemp("terminal")
    write_corpus(folder)
    shared = Terminal(folder, folder / "cache")
    yield shared
    shared.close()


@pytest.fixture
def desk(tmp_path: Path, terminal: Terminal) -> Iterator[Terminal]:
    """A folder of the test's own with corpus and recipe, to be spoilt at will."""
    write_corpus(tmp_path)
    own = Terminal(tmp_path, terminal.cache)
    yield own
    own.close()


@pytest.fixture(scope="session")
def undisturbed(terminal: Terminal) -> Callable[[str, int], Undisturbed]:
    """The run of a strategy on so many processes from start to end; made when first asked for."""

    @cache
    def train(strategy: str, nproc: int) -> Undisturbed:
        name, strategy_key = f"{strategy}-{nproc}", f"distributed.strategy={strategy}"
        started = terminal.start(name, nproc, strategy_key)
        started.wait_for((terminal.folder / name / "lease.json").exists, "the lease")
        second = terminal.train(name, nproc, strategy_key)
        return Undisturbed(started.run, started.said(), second)

    return train


@pytest.fixture(scope="session")
def tools() -> Any:
    """The functions and constants of this file, for tests."""
    from types import SimpleNamespace

    return SimpleNamespace(
        MARKER=MARKER,
        RECIPE=RECIPE,
        STEPS=STEPS,
        alive=alive,
        last_step=last_step,
        proof=proof,
        tree=tree,
        workers_of=workers_of,
    )
