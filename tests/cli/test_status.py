"""`biodist status` as a person meets it: runs on this machine, and jobs of a Slurm that is not here."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from biodist.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_MACHINE, EXIT_SOME, EXIT_USER
from biodist.run.folder import RunFolder
from biodist.run.jobs import SlurmJob, Submission

pytestmark = pytest.mark.timeout(280)
HEAVY = ("torch", "transformers", "accelerate", "deepspeed", "ray", "datasets", "evaluate", "tensorboard", "numpy")


def submission(root: Path) -> RunFolder:
    """A run that waits on a cluster, as `biodist submit` leaves it."""
    run = RunFolder.prepare(root)
    run.lease_lock.touch()
    job = run.new_job()
    jobs = (SlurmJob(job_id="4711", submitted=time.time()),)
    Submission(profile="p", nodes=1, world_size=1, command=("biodist",), jobs=jobs).save(job.submission)
    return run


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what is named by its whole path is found."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def test_a_run_from_start_to_end(desk: Any) -> None:
    started = desk.start("runs/a", 2)
    started.wait_for_step(15, 1)
    running = json.loads(desk.run("status", "runs/a", "--json").out)
    said = desk.run("status")
    watched = desk.run("status", "runs/a", "--watch", "--every", "1")
    assert started.said().code == 0
    assert running["state"] == "running" and running["pid"] == started.process.pid and running["host"]
    assert 15 <= running["step"] <= running["total_steps"] == 120
    assert running["checkpoint_step"] >= 10 and running["loss"] > 0 and running["seconds_left"] >= 0
    assert (running["attempts"], running["preemptions"], running["failures"], running["job"]) == (1, 0, 0, None)
    assert said.code == 0 and said.out.startswith("runs/a  running") and len(said.out.splitlines()) == 1
    assert watched.code == 0, watched.text
    lines = watched.out.splitlines()
    assert len(lines) == len(set(lines)) >= 2, "a line that did not change was printed again"
    assert lines[-1].startswith("runs/a  finished  step 120/120") and "best f1 0." in lines[-1]


def test_ctrl_c_ends_the_watching_alone(desk: Any) -> None:
    started = desk.start("runs/a", 1, "train.max_steps=100000")
    started.wait_for_step(1, 1)
    watching = desk._popen(("status", "--watch"), ("-m", "biodist.cli"))
    assert "running" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == EXIT_INTERRUPTED and "Traceback" not in err
    assert started.process.poll() is None
    os.kill(started.process.pid, signal.SIGKILL)
    started.process.communicate(timeout=60)
    killed = desk.run("status")
    assert killed.code == 0 and killed.out.startswith("runs/a  killed")


def test_local_runs_need_no_slurm(desk: Any, no_slurm: None) -> None:
    run = RunFolder.prepare(desk.folder / "runs" / "a")
    run.lease_lock.touch()
    said = desk.run("status")
    assert (said.code, said.out) == (0, "runs/a  new  0 attempts\n")


def test_a_job_without_slurm(desk: Any, no_slurm: None) -> None:
    """What the files say is shown, and why it may not be all."""
    submission(desk.folder / "runs" / "a")
    for watch in ((), ("--watch",)):
        said = desk.run("status", *watch)
        assert said.code == EXIT_MACHINE
        assert said.out == "runs/a  unknown  0 attempts  job 4711\n"
        assert "no Slurm here (squeue is not on PATH): use a login node" in said.err


def test_no_runs(desk: Any) -> None:
    said = desk.run("status")
    assert (said.code, said.out) == (0, "") and "no runs under runs/" in said.err


def test_what_is_no_run(desk: Any) -> None:
    said = desk.run("status", "train.tsv", "4711")
    assert said.code == EXIT_USER
    assert "train.tsv: is no run's folder" in said.err and "not by a job's number" in said.err


def test_damaged_runs_do_not_hide_the_others(desk: Any) -> None:
    for name in ("a", "b"):
        RunFolder.prepare(desk.folder / "runs" / name).lease_lock.touch()
    (desk.folder / "runs" / "b" / "result.json").write_text("{")
    said = desk.run("status")
    assert said.code == EXIT_SOME and said.out.splitlines()[0] == "runs/a  new  0 attempts"
    assert "1 of 2 runs cannot be read" in said.err and "result.json" in said.err
    assert desk.run("status", "runs/b").code == EXIT_FAILED


def test_it_is_light(desk: Any) -> None:
    RunFolder.prepare(desk.folder / "runs" / "a").lease_lock.touch()
    probe = (
        "import sys\nfrom biodist.cli.app import app\n"
        "app(['status'], standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    said = desk.run(program=("-c", probe))
    assert said.out.splitlines()[-1] == "[]", said.text
