"""A plan, an attempt, and toy workers: small real processes without torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from biodist.plan.plan import Plan
from biodist.run.folder import AttemptFolder, RunFolder

# What every toy begins with. `ready(n)` waits until n ranks have said so; `fail` writes a failure as a worker does.
PRELUDE = """
import os, signal, sys, time
from pathlib import Path
from biodist.run.records import Failure
from biodist.run.tether import hear_stop, tether
rank, parent, attempt = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
tether(parent)

def ready(ranks=1):
    (attempt / f"ready-{rank}").touch()
    while len(list(attempt.glob("ready-*"))) < ranks:
        time.sleep(0.01)

def fail(kind, message, code=3, step=None):
    failure = Failure(rank=rank, time=time.time(), kind=kind, message=message, exit_code=code, step=step)
    failure.save(attempt / f"failure-rank-{rank}.json")
    sys.exit(code)
"""

# A launcher of its own, so that it can be killed. Says the outcome as JSON on its standard output.
DRIVER = """
import json, os, signal, sys
from pathlib import Path
from biodist.plan.plan import Plan
from biodist.run.folder import AttemptFolder
from launch.local import first_failure_report, run_attempt
from launch.watching import Patience
attempt, toy, marker, early = AttemptFolder(Path(sys.argv[1])), sys.argv[2], sys.argv[3], sys.argv[4]
plan = Plan.model_validate_json(attempt.plan.read_bytes())
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)]

def worker(rank):
    if early and rank == 0:
        os.kill(os.getpid(), getattr(signal, early))
    return [sys.executable, toy, str(rank), str(os.getpid()), str(attempt.root), marker]

outcome = run_attempt(attempt, plan, "token", worker=worker, patience=Patience(others_s=3, stacks_s=1))
after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)]
failure = outcome.failure
print(json.dumps({
    "exit_code": outcome.exit_code,
    "rank": failure and failure.rank,
    "kind": failure and failure.cause.kind,
    "message": failure and failure.message,
    "report": first_failure_report(outcome),
    "restored": before == after,
}))
"""


def a_plan(world_size: int, total_steps: int = 100) -> Plan:
    """A plan whose figures are right in kind, for launching alone."""
    shape = {
        **{"family": "bert", "layers": 1, "hidden_size": 8, "heads": 1, "intermediate_size": 8, "vocab_size": 64},
        **{"max_positions": 64, "type_vocab_size": 2, "parameters": 1000, "largest_parameters": 500},
        "layer_parameters": 500,
    }
    data = {
        **{"fingerprint": "00", "store": "/s", "tokenizer": "/t", "labels": ["O"], "vocab_size": 64, "splits": {}},
    }
    machine = {
        **{"device": "cpu", "backend": "gloo", "world_size": world_size, "nodes": 1},
        **{"processes_per_node": world_size, "threads_per_process": 3, "memory_gb_per_process": 1.0},
        "device_name": "cpu",
    }
    batch = {
        **{"global_batch": 8, "micro_batch": 4, "steps_per_epoch": 10, "total_steps": total_steps},
        **{"warmup_steps": 0, "evaluate_every_steps": 10, "micro_batch_rule": "recipe"},
    }
    recipe = {
        **{"name": "toy", "task": "ner", "model": {"init": "scratch"}, "train": {}},
        "data": {"labels": ["Disease"], "train": [{"path": "x.tsv"}]},
    }
    return Plan.model_validate(
        {
            **{"recipe": recipe, "core_digest": "00", "data": data, "model": {"folder": None, "shape": shape}},
            **{"machine": machine, "batch": batch, "precision": "fp32", "padding": "none", "strategy": "ddp"},
            **{"zero_stage": 0, "deepspeed": None, "disk": {"checkpoint": 0, "retained": 0, "model": 0}},
            "memory": {"parameters": 0, "gradients": 0, "optimizer": 0, "activations": 0, "buffers": 0},
            "command": [],
        }
    )


@dataclass
class Launch:
    """A launcher under way with toy workers."""

    process: subprocess.Popen[str]
    attempt: AttemptFolder
    marker: str

    def wait_ready(self, ranks: int) -> None:
        self._until("the ranks were not ready", lambda: len(list(self.attempt.root.glob("ready-*"))) == ranks)

    def wait_gone(self) -> None:
        self._until("processes were left behind", lambda: not self.living())

    def _until(self, else_: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline, else_
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def outcome(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return {**json.loads(out), "said": err}

    def living(self) -> list[int]:
        """Every process of this launch but the launcher."""
        return [pid for pid in pids_with(self.marker) if pid != self.process.pid]

    def log(self, rank: int) -> str:
        return self.attempt.log(rank).read_text()


def pids_with(marker: str) -> list[int]:
    """Living processes with `marker` among their arguments."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if marker.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


Launcher = Callable[..., Launch]


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptFolder:
    """An attempt in a folder with a space and letters beyond ASCII in its name."""
    return RunFolder.prepare(tmp_path / "my run é 实验").new_attempt()


@pytest.fixture
def launcher(tmp_path: Path, attempt: AttemptFolder) -> Iterator[Launcher]:
    """Starts a launcher with the given toy on so many ranks; afterwards nothing of it may be left."""
    marker = f"toy-{uuid.uuid4().hex}"
    started: list[subprocess.Popen[str]] = []

    def launch(toy: str, ranks: int, early: str = "", environment: dict[str, str] | None = None) -> Launch:
        attempt.plan.write_text(a_plan(ranks).model_dump_json())
        script = tmp_path / "toy.py"
        script.write_text(PRELUDE + textwrap.dedent(toy))
        command = [sys.executable, "-c", DRIVER, str(attempt.root), str(script), marker, early]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        started.append(process)
        return Launch(process, attempt, marker)

    yield launch
    for process in started:
        process.kill()
        process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while (left := pids_with(marker)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:  # a failed test must not leave them to the others
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left behind"


@pytest.fixture
def plan() -> Callable[..., Plan]:
    """Makes a plan for so many ranks."""
    return a_plan


@pytest.fixture
def living() -> Callable[[str], list[int]]:
    """Finds the living processes with a marker among their arguments."""
    return pids_with
