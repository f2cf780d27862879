"""Memory that runs out in training: the run goes on from its last checkpoint with half the micro-batch, by itself.

The limit is real: address space, taken from the ranks once a checkpoint is there, and from those of the next attempt
as they begin. It lies between what the planned micro-batch needs and what half of it does.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from biodist.plan.plan import read_plan
from biodist.run.folder import AttemptFolder, RunFolder
from biodist.run.records import AttemptRecord, Result

pytestmark = pytest.mark.timeout(600)
SLOW_S = 240.0
STEPS = 6
SENTENCES = 96  # every step trains all of them: no step needs more memory than the first
RECIPE = f"""\
name: hungry
task: ner
model:
  init: scratch
  scratch: {{layers: 2, hidden_size: 384, heads: 6, intermediate_size: 1536, vocab_size: 200, max_positions: 64}}
  dropout: 0.0
data:
  max_length: 64
  stride: 8
  labels: [Disease]
  train: [{{path: train.tsv, format: iob2, name: hungry}}]
train: {{max_steps: {STEPS}, global_batch: {SENTENCES}, learning_rate: 1e-4}}
checkpoint: {{every_steps: 2, asynchronous: false}}
"""


@dataclass
class Command:
    """`biodist train` in a folder of its own, on two processes."""

    folder: Path
    cache: Path
    process: subprocess.Popen[str] | None = None

    def start(self, run: str, *overrides: str) -> RunFolder:
        arguments = ("train", "recipe.yaml", *overrides, "--run", run, "--nproc", "2", "--device", "cpu")
        environment = {
            **os.environ,
            **{"BIODIST_CACHE": str(self.cache), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"},
            # Freed memory goes back at once, and each thread takes from one place: peaks are the tensors' alone.
            **{"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"},
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "biodist.cli", *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return RunFolder((self.folder / run).absolute())

    def ended(self) -> tuple[int, str]:
        assert self.process is not None
        out, _ = self.process.communicate(timeout=SLOW_S)
        return self.process.returncode, " ".join(out.split())

    def wait_for(self, there: Callable[[], bool], what: str) -> None:
        assert self.process is not None
        deadline = time.monotonic() + SLOW_S
        while not there():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"never came: {what}: {self.ended()[1]}", pytrace=False)
            time.sleep(0.01)

    def ranks(self, attempt: AttemptFolder) -> list[int]:
        """Process ids of an attempt's ranks, once both have begun."""

        def pids() -> list[int]:
            return [event["pid"] for rank in (0, 1) for event in events(attempt, rank) if event["kind"] == "started"]

        self.wait_for(lambda: len(pids()) == 2, f"attempt {attempt.number}")
        return pids()


def limit(pids: list[int], size: int) -> None:
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_AS, (size, size))


def events(attempt: AttemptFolder, rank: int) -> list[dict[str, Any]]:
    if not attempt.events(rank).exists():
        return []
    lines = attempt.events(rank).read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def peak(pid: int) -> int:
    """Of a process's address space, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmPeak:")).split()[1]) * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw, root = random.Random(1), tmp_path_factory.mktemp("hungry")
    words = ["".join(draw.choices("abdeiklmnorstu", k=draw.randint(3, 8))) for _ in range(60)]
    lines = []
    for _ in range(SENTENCES):
        lines += [f"{draw.choice(words)}\t{'B-Disease' if draw.random() < 0.2 else 'O'}\n" for _ in range(30)]
        lines.append("\n")
    (root / "train.tsv").write_text("".join(lines))
    (root / "recipe.yaml").write_text(RECIPE)
    return root


@pytest.fixture
def command(folder: Path, tmp_path: Path) -> Iterator[Command]:
    """Workers die with their launcher, whatever a test does."""
    command = Command(folder, tmp_path / "cache")
    yield command
    if command.process is not None and command.process.poll() is None:
        command.process.kill()
        command.process.communicate(timeout=30)


def starved(command: Command, run: RunFolder, share: float) -> int:
    """Limits the first attempt once step 2 is saved: its peak, but for a share of its activations. Gives the limit."""
    command.wait_for(lambda: run.checkpoint(2).is_dir(), "a checkpoint")
    attempt = run.attempts()[0]
    ranks = command.ranks(attempt)
    size = min(peak(pid) for pid in ranks) - int(share * read_plan(attempt.plan).memory.activations)
    limit(ranks, size)
    return size


def records(run: RunFolder) -> list[AttemptRecord]:
    return [AttemptRecord.load(attempt.record) for attempt in run.attempts()]


def test_the_run_goes_on_with_half_the_micro_batch(command: Command) -> None:
    run = command.start("starved")
    size = starved(command, run, 0.12)
    command.wait_for(lambda: len(run.attempts()) == 2, "a second attempt")
    limit(command.ranks(run.attempts()[1]), size)
    code, said = command.ended()
    assert code == 0, said
    first, second = records(run)
    before = read_plan(run.attempts()[0].plan)
    micro_batch = before.batch.micro_batch
    assert first.failure is not None and (first.outcome, first.failure.kind) == ("failed", "memory")
    assert (first.micro_batch, second.micro_batch) == (micro_batch, micro_batch // 2)
    assert (second.outcome, second.micro_batch_rule) == ("finished", "smaller")
    assert second.resumed_step is not None and second.resumed_step >= 2
    assert read_plan(run.attempts()[1].plan).batch.global_batch == before.batch.global_batch
    assert f"{micro_batch // 2} windows instead of {micro_batch}, because attempt 1 ran out of memory" in said
    assert "the global batch is unchanged" in said
    assert Result.load(run.result).micro_batches == (micro_batch, micro_batch // 2)
    lines = [json.loads(line) for line in run.samples.read_text().splitlines()]
    assert [(line["step"], line["count"]) for line in lines] == [(step, SENTENCES) for step in range(1, STEPS + 1)]


def test_at_one_window_it_ends_with_advice(command: Command) -> None:
    """And what the limit is worth: a number that does not shrink does not come through."""
    run = command.start("hopeless", "train.micro_batch=1")
    starved(command, run, 40.0)
    code, said = command.ended()
    (only,) = records(run)
    assert code == 3, said
    assert only.failure is not None and only.failure.kind == "memory"
    assert "micro-batches of one window" in said and "model.activation_checkpointing=true" in said
    assert Result.load(run.result).status == "failed"
