"""A rehearsal on the cluster: both runs as jobs, the killed one brought back by its leader."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from biodist.run.folder import RunFolder
from biodist.run.jobs import Submission
from biodist.run.records import AttemptRecord

from .submitted import LIFE_S, STRATEGY, Submitted, environment, ground, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]
__all__ = ["ground", "submitted"]


@contextmanager
def rehearsing(submitted: Submitted, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`biodist submit --rehearse` on two nodes, while it waits."""
    options = ("--rehearse", "--keep", "--on", "devcluster", "--nodes", "2", "--run", str(submitted.run.root))
    command = (sys.executable, "-m", "biodist.cli", "submit", str(submitted.ground.recipe))
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, f"distributed.strategy={STRATEGY}", *options],
            cwd=submitted.ground.folder,
            env=environment(submitted.ground.variables(), submitted.traps),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def jobs_of(run: RunFolder) -> list[str]:
    """Numbers of all its jobs, of every submission."""
    return [
        known.job_id for job in run.jobs() if job.submission.exists() for known in Submission.load(job.submission).jobs
    ]


def test_left_waited_for_again_and_good(submitted: Submitted, tmp_path: Path) -> None:
    folder = submitted.run.root.with_name("run-rehearsal")
    runs = [RunFolder(folder / name) for name in ("undisturbed", "disturbed")]
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with rehearsing(submitted, first) as process:
        submitted.wait(lambda: all(run.jobs() and jobs_of(run) for run in runs), "two jobs")
        jobs = [job for run in runs for job in jobs_of(run)]
        submitted.cluster.jobs += jobs
        submitted.wait(lambda: "attempt" in first.read_text(), "the state lines")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 75, first.read_text()
    assert f"biodist cancel {runs[1].root}" in first.read_text()
    with rehearsing(submitted, second) as process:
        submitted.wait(lambda: process.poll() is not None, "the verdict", 2 * LIFE_S)
    assert process.returncode == 0, second.read_text()
    assert [job for run in runs for job in jobs_of(run)] == jobs, "no job was submitted a second time"
    records = [AttemptRecord.load(attempt.record) for attempt in runs[1].attempts()]
    assert [record.outcome for record in records] == ["failed", "finished"]
    assert [(record.job, record.restart) for record in records] == [(jobs[1], 0), (jobs[1], 1)], "requeued, by itself"
    verdict = json.loads((folder / "rehearsal.json").read_text())
    assert verdict["good"] and verdict["world_size"] == 4 and verdict["nodes"] == 2
    assert verdict["profile"] == "devcluster" and verdict["projection"]["jobs"] == 1
    assert "rank 3 after step 5" in verdict["checks"][0]["found"]
    assert submitted.cluster.status()["processes"] in ([], {}), "processes are left on a node"


def test_when_the_second_is_refused_the_first_is_called_off(submitted: Submitted, tmp_path: Path) -> None:
    """The partition closes between the two."""
    cluster, log = submitted.cluster, tmp_path / "log"
    cluster.wait_for_state(cluster.hog(), "RUNNING")
    trap = submitted.command_trap("launch.slurm.submission", "submit", call=2)
    try:
        with rehearsing(submitted, log) as process:
            submitted.wait(lambda: trap.holds == process.pid, "the second submission")
            [first] = jobs_of(RunFolder(submitted.run.root.with_name("run-rehearsal") / "undisturbed"))
            cluster.jobs.append(first)
            cluster.slurm("scontrol", "update", "PartitionName=low", "State=INACTIVE")
            trap.let_go()
            assert process.wait(120) == 4, log.read_text()
    finally:
        cluster.slurm("scontrol", "update", "PartitionName=low", "State=UP")
    assert "Slurm refuses the job" in log.read_text()
    cluster.wait_for_state(first, "CANCELLED")
