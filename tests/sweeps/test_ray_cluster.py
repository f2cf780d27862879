"""A real Ray cluster of two raylets on this machine: two-process trials in placement groups, and a driver that dies."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biodist.config.writing import recipe_yaml
from biodist.errors import MachineCannot
from biodist.sweeps.ray_cluster import connect

pytestmark = pytest.mark.timeout(900)
RAY_CLUSTER = Path(__file__).parents[2] / "slurm" / "ray-cluster"
SWEEP = """\
name: on-ray
recipe: recipe.yaml
space:
  train.learning_rate: {grid: [1e-3, 3e-3]}
search: {searcher: grid, concurrency: 2}
"""
# Kills the driver once both trials have started, then goes on with what it finds.
TWICE = """\
import subprocess, sys, time
from pathlib import Path
words = [sys.executable, "-m", "biodist.cli", "sweep"]
first = subprocess.Popen([*words, "sweep.yaml", "--on", "ray", "--nproc", "2", "--device", "cpu", "--run", "swept"])
ledger = Path("swept/ledger.jsonl")
while not ledger.exists() or ledger.read_text().count('"kind": "started"') < 2:
    assert first.poll() is None
    time.sleep(0.2)
time.sleep(5)
first.kill()
first.wait()
sys.exit(subprocess.run([*words, "--resume", "swept"]).returncode)
"""


@pytest.mark.full
def test_two_process_trials_outlive_their_driver(plans: object, tmp_path: Path) -> None:
    recipe = plans.recipe(strategy="zero2", max_steps=30)  # type: ignore[attr-defined]
    validation = recipe.data.train[0].model_copy(update={"name": "validation"})
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"validation": (validation,)})})
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(recipe))
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    command = [sys.executable, str(RAY_CLUSTER), "--local-nodes", "2", "--cpus", "2", "--folder", "ray"]
    done = subprocess.run(
        [*command, "--", sys.executable, "-c", TWICE],
        cwd=tmp_path,
        env={**os.environ, "BIODIST_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "swept" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["state"], row["starts"]) for row in rows] == [("finished", "1")] * 2, done.stderr
    for row in rows:
        plan = json.loads((tmp_path / "swept/trials" / row["key"] / "attempts/0001/plan.json").read_text())
        assert plan["machine"]["world_size"] == 2 and plan["strategy"] == "zero2"
    assert not (tmp_path / "ray" / "token").exists()
    time.sleep(2)
    assert not [line for line in command_lines() if str(tmp_path) in line and "pytest" not in line]


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("added", "what"),
    [({}, "no Slurm job here"), ({"SLURM_JOB_NODELIST": "n1", "PATH": "/nowhere"}, "scontrol does not name the nodes")],
)
def test_without_a_job_it_says_so(tmp_path: Path, added: dict[str, str], what: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")} | added
    command = [sys.executable, str(RAY_CLUSTER), "--", "true"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4 and what in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_where_nobody_listens_there_is_no_cluster() -> None:
    with pytest.raises(MachineCannot, match=r"no Ray cluster answers at 127\.0\.0\.1:1: .*refused"):
        connect("127.0.0.1:1", "biodist")


def test_the_heads_address_is_that_of_the_network_to_the_others() -> None:
    program = "import runpy, sys; print(runpy.run_path(sys.argv[1])['address_towards']('127.0.0.1'))"
    done = subprocess.run([sys.executable, "-c", program, str(RAY_CLUSTER)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "127.0.0.1\n", done.stderr
