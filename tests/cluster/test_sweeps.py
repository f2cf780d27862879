"""Sweeps whose trials are jobs: preempted, their node lost, their driver killed; every trial runs once to its end."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from biodist.run.folder import RunFolder
from biodist.run.jobs import Submission
from biodist.run.records import AttemptRecord

from .submitted import Submitted, ground, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]
__all__ = ["ground", "submitted"]

SWEEP = """\
name: jobs
recipe: {recipe}
space:
  train.learning_rate: {{grid: [1e-3, 2e-3, 3e-3, 4e-3]}}
search: {{searcher: grid, scheduler: none, concurrency: 2}}
"""
TRIALS = 4


class Swept:
    """A sweep on the cluster."""

    def __init__(self, submitted: Submitted, *words: str, steps: int = 60) -> None:
        self.submitted, self.root = submitted, submitted.run.root
        path = self.root.parent / "sweep.yaml"
        path.write_text(SWEEP.format(recipe=submitted.ground.recipe))
        pace = ("train.epochs=null", f"train.max_steps={steps}", "evaluate.every=30", "checkpoint.every_steps=5")
        where = ("--on", "devcluster", "--nodes", "1", "--nproc", "1", "--run", str(self.root))
        self.words = ("sweep", str(path), *pace, "distributed.strategy=ddp", *words, *where)

    def begin(self, **trapped: Any) -> subprocess.Popen[bytes]:
        return self.submitted.started(*self.words, **trapped)

    def resume(self) -> subprocess.CompletedProcess[str]:
        driver = self.submitted.started("sweep", "--resume", str(self.root), traps=())
        assert driver.wait(600) == 0
        return self.submitted.biodist("sweep", "--resume", str(self.root))

    def events(self, kind: str) -> list[dict[str, Any]]:
        ledger = self.root / "ledger.jsonl"
        lines = ledger.read_bytes().splitlines(keepends=True) if ledger.exists() else []
        found = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [event for event in found if event["kind"] == kind]

    def runs(self) -> list[RunFolder]:
        return [RunFolder(path) for path in sorted((self.root / "trials").iterdir())]

    def jobs(self) -> list[str]:
        """Of every submission of every trial."""
        submissions = [Submission.load(job.submission) for run in self.runs() for job in run.jobs()]
        return [job.job_id for submission in submissions for job in submission.jobs]

    def step(self, run: RunFolder) -> int:
        lines = run.metrics.read_text().splitlines() if run.metrics.exists() else []
        return max((json.loads(line)["step"] for line in lines[:-1]), default=0)

    def wait(self, there: Any, what: str, seconds: float = 240) -> None:
        logs = lambda: "\n".join(path.read_text()[-800:] for path in (self.root / "trials").rglob("*_log.out"))  # noqa: E731
        squeue = lambda: self.submitted.cluster.slurm("squeue", "--all")  # noqa: E731
        self.submitted.cluster.wait_until(lambda: bool(there()), lambda: f"{what}\n{squeue()}\n{logs()}", seconds)

    def is_sound(self) -> None:
        """Every trial once, finished, with a single job; nothing of it lives on."""
        with (self.root / "trials.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["state"] for row in rows] == ["finished"] * TRIALS
        assert len(self.events("intent")) == len(self.events("ended")) == TRIALS == len(self.runs())
        told = [(event["key"], event["step"]) for event in self.events("reported")]
        assert len(told) == len(set(told)) == 2 * TRIALS
        assert len(self.jobs()) == TRIALS, "a trial was submitted twice"
        self.wait(lambda: not self.submitted.cluster.status()["jobs"], "a job lives on", 90)


def test_preempted_a_node_lost_and_the_driver_killed(submitted: Submitted) -> None:
    swept, cluster = Swept(submitted, "train.max_steps=400", "evaluate.every=200"), submitted.cluster
    driver = swept.begin()
    swept.wait(lambda: len(swept.events("started")) == 2, "two trials")
    first = swept.jobs()
    cluster.jobs.append(first[0].partition("_")[0])
    assert {job.partition("_")[2] for job in first} == {"0", "1"}, "both are one array"
    swept.wait(lambda: all(swept.step(run) >= 8 for run in swept.runs()), "steps of both")

    hog = cluster.hog()
    swept.wait(lambda: [end.outcome for end in ends(swept.runs())] == ["stopped"] * 2, "both saved and stopped")
    driver.kill()
    driver.wait(30)
    cluster.cancel(hog)
    swept.wait(lambda: all(cluster.job_state(job) == "RUNNING" for job in first), "both come back", 120)
    node = cluster.job(first[0])["NodeList"]
    cluster.kill_node(node)
    cluster.start_node(node)

    done = swept.resume()
    assert done.returncode == 0, done.stderr
    cluster.jobs += swept.jobs()
    swept.is_sound()
    assert max(len(run.attempts()) for run in swept.runs()) >= 2


def ends(runs: list[RunFolder]) -> list[AttemptRecord]:
    """The newest attempt of each."""
    return [AttemptRecord.load(run.attempts()[-1].record) for run in runs]


def test_a_job_that_was_never_noted_is_ended_and_submitted_again(submitted: Submitted) -> None:
    """The driver is killed between sbatch and its note: nobody knows the array, and its tasks have nothing to run."""
    swept, cluster = Swept(submitted), submitted.cluster
    trap = submitted.command_trap("launch.slurm.array", "note_job")
    driver = swept.begin()
    submitted.wait_held(trap)
    [array] = {row["job"].partition("_")[0] for row in cluster.status()["jobs"]}
    cluster.jobs.append(array)
    driver.kill()
    driver.wait(30)
    done = swept.resume()
    assert done.returncode == 0, done.stderr
    assert not [job for job in swept.jobs() if job.startswith(f"{array}_")]
    swept.is_sound()


def test_the_driver_is_a_job_that_comes_back(submitted: Submitted) -> None:
    swept, cluster = Swept(submitted), submitted.cluster
    done = submitted.biodist(*swept.words, "--driver-on", "devcluster")
    assert done.returncode == 0, done.stderr
    [folder] = RunFolder(swept.root / "driver").jobs()
    [job] = Submission.load(folder.submission).jobs
    cluster.jobs.append(job.job_id)
    swept.wait(lambda: len(swept.events("started")) == 2, f"two trials: {logs_of(folder.root)}")
    again = submitted.biodist("sweep", "--resume", str(swept.root))
    assert again.returncode == 4 and "writes to this run" in again.stderr

    cluster.slurm("scancel", "--batch", "--signal=TERM", job.job_id)
    swept.wait(lambda: len(swept.events("driver")) == 2, f"the driver did not come back: {logs_of(folder.root)}")
    assert cluster.job(job.job_id)["Restarts"] == "1"
    swept.wait(lambda: len(swept.events("ended")) == TRIALS, logs_of(folder.root), 400)
    cluster.wait_for_state(job.job_id, "COMPLETED")
    swept.is_sound()


def logs_of(folder: Path) -> str:
    return "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))


def test_cancel_ends_driver_and_jobs(submitted: Submitted) -> None:
    swept, cluster = Swept(submitted, steps=100_000), submitted.cluster  # none ends by itself
    driver = swept.begin()
    swept.wait(lambda: len(swept.events("started")) == 2, "two trials")
    cluster.jobs += swept.jobs()
    done = submitted.biodist("cancel", str(swept.root), "--now")
    assert done.returncode == 0, done.stderr
    assert f"go on with: biodist sweep --resume {swept.root}" in done.stdout and "biodist resume" not in done.stdout
    assert driver.wait(60) == 75
    swept.wait(lambda: not cluster.status()["jobs"], "a job lives on", 90)
    listed = submitted.biodist("status", str(swept.root), "--json")
    assert {json.loads(line)["state"] for line in listed.stdout.splitlines()} == {"cancelled"}
