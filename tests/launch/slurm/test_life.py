"""What a task knows of itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from biodist.errors import MachineCannot
from biodist.run.folder import RunFolder
from launch.slurm.life import Call, Life, await_call

ENVIRONMENT = {
    "SLURM_JOB_ID": "4713",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "4",
    "SLURMD_NODENAME": "n2",
    "SLURM_JOB_NODELIST": "n[1-2]",
}


def test_a_task_reads_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    life = Life.read(ENVIRONMENT)
    assert (life.job_id, life.restart, life.rank, life.local_rank, life.world_size) == ("4713", 0, 2, 0, 4)
    assert (life.node, life.nodes, life.leads) == ("n2", ("n1", "n2"), False)
    assert life.name == "job 4713"


def test_an_array_s_task_and_a_second_life_have_names_of_their_own() -> None:
    more = {"SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "2", "SLURM_RESTART_COUNT": "3"}
    life = Life.read({**ENVIRONMENT, **more})
    assert (life.job_id, life.restart, life.name) == ("4711_2", 3, "job 4711_2, restart 3")


def test_outside_of_a_job_it_says_so() -> None:
    with pytest.raises(MachineCannot, match="not a task of a Slurm job: SLURM_JOB_ID is not set; use `biodist submit`"):
        Life.read({})


def test_a_call_that_comes_late_is_heard(tmp_path: Path) -> None:
    job = RunFolder.prepare(tmp_path / "run").new_job()
    life = Life.read(ENVIRONMENT)
    path = job.call(life.job_id, life.restart)

    def call() -> None:
        path.parent.mkdir()
        Call(attempt=2, rendezvous="tcp://n1:1", lease="t").save(path)

    timer = threading.Timer(0.7, call)
    timer.start()
    assert await_call(job, life, 30).attempt == 2
    timer.join()


def test_a_call_that_does_not_come_names_what_is_not_shared(tmp_path: Path) -> None:
    job = RunFolder.prepare(tmp_path / "run").new_job()
    with pytest.raises(MachineCannot, match=r"rank 2 on n2 waited 0 s for .* does not share this folder"):
        await_call(job, Life.read(ENVIRONMENT), 0)
