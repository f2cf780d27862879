"""A group of processes of one program on this machine, the ranks of a benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from biodist.errors import RunFailed
from biodist.plan.plan import Plan
from launch.environment import worker_environment

TAIL = 3000  # characters of a log that a failure shows


def run_group(program: Path, plan: Plan, folder: Path, argument: Any, limit_s: float) -> list[Any]:
    """Runs ``program FOLDER RANK WORLD_SIZE PARENT`` once a rank; each reads ``folder/argument.json`` and leaves
    ``folder/result-RANK.json``. Gives the results by rank; no process outlives the call.

    Raises:
        RunFailed: a rank failed, with the end of its log, or the group was not done after ``limit_s`` seconds.
    """
    folder.mkdir(parents=True)
    (folder / "argument.json").write_text(json.dumps(argument), encoding="utf-8")
    ranks = range(plan.machine.world_size)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in ranks:
            processes.append(_start(program, plan, folder, rank))
        failed = _first_failure(processes, time.monotonic() + limit_s)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if failed is not None:
        rank, why = failed
        raise RunFailed(f"rank {rank} {why}\n{_log(folder, rank).read_text(errors='replace')[-TAIL:]}".rstrip())
    return [json.loads((folder / f"result-{rank}.json").read_text(encoding="utf-8")) for rank in ranks]


def _start(program: Path, plan: Plan, folder: Path, rank: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(program), str(folder), str(rank), str(plan.machine.world_size), str(os.getpid())]
    environment = worker_environment(os.environ, plan.machine) | {"TQDM_DISABLE": "1"}
    with _log(folder, rank).open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def _log(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.log"


def _first_failure(processes: list[subprocess.Popen[bytes]], deadline: float) -> tuple[int, str] | None:
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                return rank, f"ended with {code}"
        if None not in codes:
            return None
        if time.monotonic() > deadline:
            return codes.index(None), "was not done in time"
        time.sleep(0.05)
