"""The ground a campaign stands on: a generated corpus, a recipe of a few seconds, and the run that nobody disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biodist.data.generate import generate
from biodist.errors import RunFailed
from biodist.run.folder import RunFolder

RECIPE = """\
name: struck
task: ner
model:
  init: scratch
  scratch: {layers: 2, hidden_size: 32, heads: 2, intermediate_size: 64, vocab_size: 300, max_positions: 64}
  dropout: 0.1
data:
  max_length: 64
  stride: 8
  labels: [Disease, Chemical, Gene, Species]
  train: [{path: train.tsv, format: iob2, name: small}]
  validation: [{path: validation.tsv, format: iob2, name: small}]
  test: [{path: test.tsv, format: iob2, name: small}]
train: {epochs: 2, global_batch: 8, micro_batch: 3, learning_rate: 2e-3, weight_decay: 0.01, seed: 7}
checkpoint: {every_steps: 5, keep_last: 2, keep_best: 1}
evaluate: {every: epoch, metric: loss, mode: min}
"""
SENTENCES = {"train": 96, "validation": 96, "test": 16}  # 12 steps an epoch
STEPS = 24
LIMIT_S = 300.0  # for one command
HANG_S = 20  # distributed.timeout_s where a rank is stopped: longer than the slowest start-up


@dataclass(frozen=True)
class Ground:
    """A folder of its own, with corpus, recipe, cache and undisturbed runs."""

    folder: Path

    @classmethod
    def prepare(cls, folder: Path) -> Ground:
        """Makes what is missing of it."""
        ground = cls(folder.absolute())
        if not ground.recipe.exists():
            generate(ground.folder, seed=11, **SENTENCES)
            ground.recipe.write_text(RECIPE, encoding="utf-8")
        return ground

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    def command(self, run: Path, strategy: str, world_size: int, *overrides: str) -> list[str]:
        """What a person types."""
        return [
            *(sys.executable, "-m", "biodist.cli", "train", str(self.recipe), f"distributed.strategy={strategy}"),
            *overrides,
            *("--run", str(run), "--nproc", str(world_size)),
        ]

    def variables(self, cache: Path | None = None) -> dict[str, str]:
        """The environment of a command: one thread a process, the campaign's cache."""
        return {**os.environ, "BIODIST_CACHE": str(cache or self.folder / "cache"), "OMP_NUM_THREADS": "1"}

    def undisturbed(self, strategy: str, world_size: int) -> RunFolder:
        """The run that nobody disturbs, made once.

        Raises:
            RunFailed: it did not end with 0.
        """
        run = RunFolder(self.folder / "undisturbed" / f"{strategy}-{world_size}")
        run.root.parent.mkdir(exist_ok=True)
        log = run.root.with_suffix(".log")
        with launched(self.command(run.root, strategy, world_size), self.folder, self.variables(), log) as launcher:
            code = launcher.wait(LIMIT_S)
        if code:
            raise RunFailed(f"the undisturbed run ended with {code}: see {log}")
        return run


@contextmanager
def launched(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher whose output is appended to ``log``; ended, and its workers with it, when the block is left."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(30)
