"""`biodist cancel` of a run on this machine; of jobs: tests/cluster."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from biodist.errors import EXIT_INTERRUPTED, EXIT_MACHINE, EXIT_STOPPED, EXIT_USER
from biodist.run.folder import JobFolder, RunFolder
from biodist.run.jobs import SlurmJob, Submission
from biodist.run.lease import LeaseRecord
from biodist.run.process import process_space, process_stat

pytestmark = pytest.mark.timeout(280)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that no run has to do with."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    yield process
    process.kill()
    process.wait(timeout=30)


def held(root: Path, **changes: Any) -> RunFolder:
    """A run under a lease of this very moment."""
    run = RunFolder.prepare(root)
    run.lease_lock.touch()
    now = time.time()
    record = {
        **{"attempt": 1, "host": "here", "pid": 1, "process_start_ticks": 1, "process_space": process_space()},
        **{"job": None, "since": now, "heartbeat": now, "token": "t", **changes},
    }
    LeaseRecord.model_validate(record).save(run.lease)
    return run


def test_it_saves_and_stops(desk: Any, tools: Any) -> None:
    started = desk.start("a", 2)
    started.wait_for_step(3, 1)
    said = desk.run("cancel", "a")
    assert said.code == 0 and f"process {started.process.pid} on" in said.err
    step = tools.last_step(started.run / "attempts" / "0001" / "events-rank-0.jsonl")
    assert said.out == f"a: ended; saved at step {step}\ngo on with: biodist resume a\n"
    assert started.said().code == EXIT_STOPPED
    again = desk.run("cancel", "a")
    assert (again.code, again.out.splitlines()[0]) == (0, f"a: had ended already (stopped); saved at step {step}")
    finished = desk.run("resume", "a")
    assert finished.code == 0, finished.text
    assert desk.run("cancel", "a").out == "a: finished already; nothing to cancel\n"


def test_at_once(desk: Any) -> None:
    started = desk.start("a", 1, "train.max_steps=100000", "checkpoint.every_steps=100000")
    started.wait_for_step(3, 1)
    said = desk.run("cancel", "a", "--now")
    # Its step may have ended, and been saved, between the first signal and the second.
    assert said.code == 0 and said.out.startswith("a: ended; ")
    assert started.said().code in (EXIT_INTERRUPTED, EXIT_STOPPED)


def test_another_machines(desk: Any) -> None:
    held(desk.folder / "a", host="far-away", process_space="another/space")
    said = desk.run("cancel", "a")
    assert said.code == EXIT_MACHINE and "run the command on far-away" in said.err and said.out == ""


def test_a_number_that_another_process_has_now(desk: Any, bystander: subprocess.Popen[bytes]) -> None:
    stat = process_stat(bystander.pid)
    assert stat is not None
    held(desk.folder / "a", pid=bystander.pid, process_start_ticks=stat.start_ticks - 1)
    said = desk.run("cancel", "a")
    assert (said.code, said.out.splitlines()[0]) == (0, "a: had ended already (new); nothing is saved")
    assert bystander.poll() is None
    # The very process is ended: the test above would notice one that is.
    held(desk.folder / "a", pid=bystander.pid, process_start_ticks=stat.start_ticks)
    assert desk.run("cancel", "a").code == 0
    assert bystander.wait(timeout=30) == -15


def submitted_before(run: RunFolder) -> JobFolder:
    """A submission whose job may still wait in a queue."""
    job = run.new_job()
    jobs = (SlurmJob(job_id="4711", submitted=time.time() - 60),)
    Submission(profile="p", nodes=1, world_size=1, command=("biodist",), jobs=jobs).save(job.submission)
    return job


def test_one_that_trains_here_and_has_a_job_where_slurm_cannot_be_asked(
    desk: Any, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is ended, and the job marked, so that it ends when it begins. With Slurm: tests/cluster."""
    monkeypatch.setenv("PATH", str(desk.folder))
    stat = process_stat(bystander.pid)
    assert stat is not None
    job = submitted_before(held(desk.folder / "a", pid=bystander.pid, process_start_ticks=stat.start_ticks))
    said = desk.run("cancel", "a")
    assert said.code == 0 and bystander.wait(timeout=30) == -15
    assert "job 4711 of this run: no Slurm here" in said.err and "it ends as soon as it begins" in said.err
    assert job.cancelled.exists()


def test_another_machines_process_keeps_its_job(desk: Any) -> None:
    """What can be ended in part alone is not begun to be ended."""
    job = submitted_before(held(desk.folder / "a", host="far-away", process_space="another/space"))
    assert desk.run("cancel", "a").code == EXIT_MACHINE
    assert not job.cancelled.exists()


def test_what_is_no_run(desk: Any) -> None:
    said = desk.run("cancel", "4711")
    assert said.code == EXIT_USER and "not by a job's number" in said.err
