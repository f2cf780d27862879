"""The option --full, groups of real processes, and plans over one small corpus for what trains for real."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from biodist.config.recipe import Recipe
from biodist.data.indexing import build_index
from biodist.plan.decide import decide, place
from biodist.plan.index import DataIndex
from biodist.plan.machine import Machine
from biodist.plan.plan import ModelPlan, Plan
from biodist.plan.shape import scratch_shape
from launch.environment import worker_environment

# Threads that wait for one another spin by default: beside another busy process a step takes a hundred times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Who runs the tests in the background may have them ignore Ctrl-C, and what they start would then ignore it as well.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW = ("faults", "cli", "training", "checkpoint")  # folders whose tests train in processes of their own
JOBS = Path(__file__).parent / "training" / "jobs.py"
TAIL = 3000  # characters of each process's log that a failure shows


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run tests marked full as well (make test-full)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked full run under --full, or where -m names the mark. Of several processes (pytest-xdist) none is to be
    left alone with a slow file at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name not in SLOW)
    if config.getoption("--full") or "full" in config.getoption("-m"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why tests were skipped, and how many."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()))
    for reason, skipped in sorted(reasons.items()):
        terminalreporter.write_line(f"{skipped} skipped: {reason.removeprefix('Skipped: ')}")


@dataclass(frozen=True)
class Group:
    """Starts real processes of one program. Each is told (folder, rank, world size, parent) on its command line, reads
    ``folder/argument.json`` and leaves ``folder/result-RANK.json``."""

    folder: Path

    def run(self, program: Path, plan: Plan, argument: Any, limit_s: float = 150) -> list[Any]:
        """The results by rank. Fails with the end of every log when one process fails, or when they are not done after
        ``limit_s`` seconds; their stacks are in the logs then. No process outlives the call."""
        self.folder.mkdir(parents=True)
        (self.folder / "argument.json").write_text(json.dumps(argument))
        world_size = plan.machine.world_size
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(world_size):
                processes.append(self._start(program, plan, rank, world_size))
            why = _wait(processes, time.monotonic() + limit_s)
        finally:
            for process in processes:
                process.kill()
                process.wait(timeout=30)
        if why:
            pytest.fail(f"{why}\n{self._logs(world_size)}", pytrace=False)
        return [json.loads((self.folder / f"result-{rank}.json").read_text()) for rank in range(world_size)]

    def _start(self, program: Path, plan: Plan, rank: int, world_size: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(program), str(self.folder), str(rank), str(world_size), str(os.getpid())]
        environment = worker_environment(os.environ, plan.machine) | {"TQDM_DISABLE": "1"}
        with self._log(rank).open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def _log(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.log"

    def _logs(self, world_size: int) -> str:
        ends = (self._log(rank).read_text(errors="replace")[-TAIL:] for rank in range(world_size))
        return "\n".join(f"--- rank {rank}\n{end}" for rank, end in enumerate(ends))


def _wait(processes: list[subprocess.Popen[bytes]], deadline: float) -> str:
    """Why the group failed, or nothing. The first to fail is named, and the others are not waited for."""
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                return f"rank {rank} ended with {code}"
        if None not in codes:
            return ""
        if time.monotonic() > deadline:
            for process in processes:
                process.send_signal(signal.SIGQUIT)  # `tether` answers with the stacks of all threads
            time.sleep(1)
            return f"not done in time; still running: ranks {[rank for rank, code in enumerate(codes) if code is None]}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def group(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Group]:
    """Makes a group of processes with a folder of its own."""
    root, numbers = tmp_path_factory.mktemp("groups"), count(1)
    return lambda: Group(root / f"{next(numbers):03d}")


@pytest.fixture(scope="session")
def run_jobs(group: Callable[[], Group]) -> Callable[..., dict[str, Any]]:
    """Runs jobs of `training/jobs.py` in one group of processes; gives what rank 0 said of each, by name, once every
    rank said the same of losses and samples. Each job has the keys of `Job`, its plan a `Plan`."""

    def run(jobs: list[dict[str, Any]], limit_s: float = 150) -> dict[str, Any]:
        written = [{**job, "plan": job["plan"].model_dump(mode="json")} for job in jobs]
        said = group().run(JOBS, jobs[0]["plan"], written, limit_s)
        assert all(one == said[0] for one in said), "the ranks disagree"
        assert list(said[0]) == [job["name"] for job in jobs] or set(said[0]) == {job["name"] for job in jobs}
        results: dict[str, Any] = said[0]
        return results

    return run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """58 sentences of invented words: short ones, and every ninth longer than a window of 32 tokens."""
    draw = random.Random(3)
    syllables = ["ba", "do", "ki", "lu", "me", "no", "ra", "si", "tu", "ve"]
    lexicon = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(80)]
    lines = []
    for sentence in range(58):
        length = draw.randint(40, 70) if sentence % 9 == 0 else draw.randint(2, 22)
        tag = "O"
        for _ in range(length):
            tag = draw.choice(["O", "O", "B-Disease"] if tag == "O" else ["O", "I-Disease"])
            lines.append(f"{draw.choice(lexicon)}\t{tag}\n")
        lines.append("\n")
    path = tmp_path_factory.mktemp("corpus") / "train.tsv"
    path.write_text("".join(lines))
    return path


@dataclass(frozen=True)
class Plans:
    """Plans over the small corpus: fp32, no dropout, 8 samples a step, the last step of an epoch with 2."""

    corpus: Path
    cache: Path

    def recipe(self, **train: Any) -> Recipe:
        strategy, dropout = train.pop("strategy", "ddp"), train.pop("dropout", 0.0)
        layers = {"layers": train.pop("layers")} if "layers" in train else {}
        offload, recompute = train.pop("offload", "none"), train.pop("activation_checkpointing", False)
        return Recipe.model_validate(
            {
                "name": "small",
                "task": "ner",
                "model": {
                    "init": "scratch",
                    "dropout": dropout,
                    "activation_checkpointing": recompute,
                    "scratch": {
                        **{"hidden_size": 32, "intermediate_size": 64, "vocab_size": 120, "max_positions": 64},
                        **layers,
                    },
                },
                "data": {
                    "max_length": 32,
                    "stride": 8,
                    "labels": ["Disease"],
                    "train": [{"path": str(self.corpus), "format": "iob2", "name": "small"}],
                },
                "train": {
                    **{"max_steps": 50, "global_batch": 8, "learning_rate": 2e-3, "weight_decay": 0.05},
                    **{"warmup_ratio": 0.1, "micro_batch": 3, "max_grad_norm": 1.0},
                    **train,
                },
                "distributed": {"strategy": strategy, "offload": offload, "timeout_s": 60},
            }
        )

    def __call__(self, world_size: int, **train: Any) -> Plan:
        """A plan; the keywords are ``strategy``, ``offload``, ``dropout``, ``activation_checkpointing``,
        ``layers`` and keys of ``train``."""
        recipe = self.recipe(**train)
        index = build_index(recipe, None, self.cache)
        model = ModelPlan(folder=None, shape=scratch_shape(recipe.model.scratch, index.vocab_size, len(index.labels)))
        machine = Machine(host="here", processor="processor", cores=world_size, memory=8 * 10**9 * world_size)
        return decide(recipe, index, model, place(machine, world_size))

    @property
    def index(self) -> DataIndex:
        return build_index(self.recipe(), None, self.cache)


@pytest.fixture(scope="session")
def plans(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Plans:
    """Makes plans over the small corpus: ``plans(world_size, strategy="zero2", micro_batch=3)``."""
    return Plans(corpus, tmp_path_factory.mktemp("cache"))
