"""The development cluster for tests marked slurm, which run only where one is up and this shell has its `env` lines.

``@pytest.mark.slurm`` runs on a cluster made without --user-signal, ``@pytest.mark.slurm(user_signal=True)`` on one
made with it, ``@pytest.mark.slurm(user_signal="either")`` on both.

Tests at once, in several processes (pytest-xdist), need a cluster each: the variable BIODIST_TEST_CLUSTERS names their
state folders, and each process takes its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DEVCLUSTER = Path(__file__).parents[2] / "slurm" / "devcluster"
NODES = ("n1", "n2", "n3", "n4")


@dataclass(frozen=True)
class Command:
    """How a verb of `slurm/devcluster` ended."""

    code: int
    output: str
    errors: str


def devcluster(root: Path, *arguments: str, limit_s: float = 180) -> Command:
    """Runs a verb of `slurm/devcluster` on the cluster whose state folder is ``root``."""
    command = [str(DEVCLUSTER), *arguments, "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    return Command(done.returncode, done.stdout, done.stderr)


@dataclass
class Cluster:
    """The living cluster. ``jobs`` are those a test cancels at its end: submitted here, or added by the test."""

    root: Path
    folder: Path
    jobs: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)

    def status(self) -> dict[str, Any]:
        """root, user_signal, nodes, partitions, jobs, processes (what jobs started, by node)."""
        done = devcluster(self.root, "status", "--json")
        assert done.code == 0, done.errors
        found: dict[str, Any] = json.loads(done.output)
        return found

    @property
    def user_signal(self) -> bool:
        return bool(self.status()["user_signal"])

    def slurm(self, *command: str, limit_s: float = 60) -> str:
        """What one of Slurm's commands prints; fails with its own words."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """Submits a bash script; its output goes to `output(job)`, its working folder is ``folder``. Gives the id."""
        path = self.folder / f"script-{len(self.jobs)}.sh"
        path.write_text(f"#!/bin/bash\n{script}\n")
        written = ("--output", str(self.folder / "job-%j.out"), "--open-mode=append", "--chdir", str(self.folder))
        job = self.slurm("sbatch", "--parsable", *written, *options, str(path)).strip()
        self.jobs.append(job)
        return job

    def output(self, job: str) -> str:
        path = self.folder / f"job-{job}.out"
        return path.read_text() if path.exists() else ""

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says, by key; empty when Slurm has forgotten the job."""
        done = subprocess.run(["scontrol", "show", "job", "-o", job], capture_output=True, text=True, timeout=60)
        return dict(pair.split("=", 1) for pair in done.stdout.split() if "=" in pair)

    def job_state(self, job: str) -> str:
        return self.job(job).get("JobState", "")

    def wait_for_state(self, job: str, states: str | tuple[str, ...], seconds: float = 90) -> str:
        """Waits until the job is in one of the states; gives the state. Fails with what Slurm says of the job."""
        wanted = (states,) if isinstance(states, str) else states
        self.wait_until(
            lambda: self.job_state(job) in wanted,
            lambda: f"job {job} did not become {' or '.join(wanted)}: {self.job(job)}\n{self.output(job)}",
            seconds,
        )
        return self.job_state(job)

    def wait_until(self, condition: Callable[[], bool], failure: Callable[[], str], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds:.0f} s: {failure()}", pytrace=False)
            time.sleep(0.2)

    def hog(self, partition: str = "high", nodes: int = len(NODES), seconds: int = 600) -> str:
        """Submits a job that wants whole nodes, and so preempts `low` and `norequeue`; gives its id. It ends with the
        test, or by `cancel`."""
        return self.submit(f"sleep {seconds}", f"--partition={partition}", f"--nodes={nodes}", "--exclusive")

    def cancel(self, *jobs: str) -> None:
        """Ends jobs and waits for it. One that ignores SIGTERM is there for another KillWait (15 s), unless it looks
        for a file `stop-ID` in its working folder."""
        for job in jobs:
            (self.folder / f"stop-{job}").touch()
        subprocess.run(["scancel", *jobs], capture_output=True, timeout=60)  # one that has ended is no error
        self.wait_until(
            lambda: not {row["job"] for row in self.status()["jobs"]} & set(jobs),
            lambda: f"jobs remain: {self.status()['jobs']}",
        )

    def kill_node(self, node: str) -> None:
        """Loses a node with all that runs there; it comes back with `start_node`, or at the end of the test."""
        self.lost.add(node)
        self._node("kill-node", node)

    def start_node(self, node: str) -> None:
        self._node("start-node", node)
        self.lost.discard(node)

    @contextmanager
    def grace(self, seconds: int, partition: str = "low") -> Iterator[None]:
        """Another grace time of a partition, for as long as the context lasts."""
        before = self.slurm("scontrol", "show", "partition", "-o", partition).partition("GraceTime=")[2].split()[0]
        self.slurm("scontrol", "update", f"PartitionName={partition}", f"GraceTime={seconds}")
        try:
            yield
        finally:
            self.slurm("scontrol", "update", f"PartitionName={partition}", f"GraceTime={before}")

    def restore(self) -> None:
        """Brings back every lost node; once there is no job, fails when a process of one is still there."""
        for node in sorted(self.lost):
            self.start_node(node)
        if not self.status()["jobs"]:
            self.check_no_process()

    def check_no_process(self, seconds: float = 30) -> None:
        self.wait_until(
            lambda: not self.status()["processes"],
            lambda: f"processes that outlived every job: {self.status()['processes']}",
            seconds,
        )

    def _node(self, verb: str, node: str) -> None:
        done = devcluster(self.root, verb, node)
        assert done.code == 0, done.errors


def _running() -> dict[str, Any] | None:
    """The cluster this shell talks to, as its status describes it, or nothing."""
    configuration = os.environ.get("SLURM_CONF")
    if not configuration:
        return None
    done = devcluster(Path(configuration).parent, "status", "--json")
    return json.loads(done.output) if done.code == 0 else None


def pytest_configure(config: pytest.Config) -> None:
    """Gives a process of pytest-xdist the cluster of its number."""
    roots = os.environ.get("BIODIST_TEST_CLUSTERS", "").split()
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    if roots and worker:
        os.environ["SLURM_CONF"] = str(Path(roots[int(worker.removeprefix("gw"))]) / "slurm.conf")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [(item, mark) for item in items if (mark := item.get_closest_marker("slurm"))]
    if not marked:
        return
    running = _running()
    for item, mark in marked:
        wanted = mark.kwargs.get("user_signal", False)
        if running is None:
            item.add_marker(pytest.mark.skip(reason="no development cluster: make test-cluster"))
        elif wanted not in ("either", running["user_signal"]):
            item.add_marker(pytest.mark.skip(reason=f"needs a cluster made with user_signal={wanted}"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster. At the end of the session no job and no process of any may be left."""
    found = Cluster(Path(os.environ["SLURM_CONF"]).parent, tmp_path_factory.mktemp("cluster"))
    yield found
    found.restore()
    assert not found.status()["jobs"], "jobs that no test cancelled"


@pytest.fixture(autouse=True)
def _own_jobs_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Cancels a test's own jobs and brings back nodes it lost. Jobs of wider fixtures live on."""
    if "cluster" not in request.fixturenames:
        yield
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    before = len(cluster.jobs)
    yield
    if own := cluster.jobs[before:]:
        cluster.cancel(*own)
    cluster.restore()
