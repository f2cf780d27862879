"""Runs on the development cluster: submitted as a person does it, stopped at stated instants, compared at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from campaign.ground import Ground
from campaign.traps import Trap, environment, moment
from campaign.verdict import differences, leftovers

from biodist.config.profiles import load_profile
from biodist.config.writing import profile_yaml
from biodist.run.folder import RunFolder
from biodist.run.jobs import Submission
from biodist.run.records import AttemptRecord

from .conftest import Cluster

STRATEGY = "zero2"
SLURM = frozenset(
    {"sacct", "salloc", "sbatch", "scancel", "scontrol", "sdiag", "sinfo", "sprio", "squeue", "srun", "sstat"}
)
LIFE_S = 240.0  # how long one life of a job may take on a busy machine


@dataclass
class Submitted:
    """One run on the cluster."""

    cluster: Cluster
    ground: Ground
    run: RunFolder
    traps: list[Trap] = field(default_factory=list)

    def trap(self, name: str, call: int, rank: int = 0) -> Trap:
        """A rank that will stand still at an instant of the run; set before `submit`."""
        at = moment(name)
        return self._trap(at.module, at.function, at.having, call, rank)

    def command_trap(self, module: str, function: str, call: int = 1) -> Trap:
        """A command that will stand still at a call of a function."""
        return self._trap(module, function, "", call, None)

    def _trap(self, module: str, function: str, having: str, call: int, rank: int | None) -> Trap:
        number = len(self.traps)
        folder = self.run.root.parent
        reached, release = str(folder / f"reached-{number}"), str(folder / f"release-{number}")
        self.traps.append(Trap(module, function, having, call, rank, reached, release))
        return self.traps[-1]

    def profile(self, **changes: Any) -> Path:
        """The profile `devcluster` with changes, as a file."""
        path = self.run.root.parent / "profile.yaml"
        path.write_text(profile_yaml(load_profile("devcluster").model_copy(update={"name": "test", **changes})))
        return path

    def biodist(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of biodist, as a person types it."""
        variables = environment(self.ground.variables(), self.traps)
        return subprocess.run(
            [sys.executable, "-m", "biodist.cli", *words],
            **{"cwd": self.ground.folder, "env": variables, "capture_output": True, "text": True, "timeout": 120},
        )

    def started(
        self, *words: str, path: Path | None = None, traps: Sequence[Trap] | None = None
    ) -> subprocess.Popen[bytes]:
        """A command of biodist, begun; `path`: the folder of all commands that it sees, `traps`: those it runs into."""
        variables = environment(self.ground.variables(), self.traps if traps is None else traps)
        variables |= {"PATH": str(path)} if path else {}
        command = [sys.executable, "-m", "biodist.cli", *words]
        return subprocess.Popen(command, cwd=self.ground.folder, env=variables, stdout=subprocess.DEVNULL)

    def submit(self, *words: str, nodes: int = 2, on: Path | str = "devcluster") -> str:
        """Submits it and gives the job's number."""
        where = ("--on", str(on), "--nodes", str(nodes), "--run", str(self.run.root))
        strategy = f"distributed.strategy={STRATEGY}"
        return self._submitted(self.biodist("submit", str(self.ground.recipe), strategy, *words, *where))

    def resume(self, *words: str) -> str:
        """Goes on with it, on the cluster; gives the job's number."""
        return self._submitted(self.biodist("resume", str(self.run.root), *words))

    def _submitted(self, done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 0, done.stderr
        job = self.job
        self.cluster.jobs.append(job)
        return job

    @property
    def job(self) -> str:
        """The newest job of the newest submission."""
        current = Submission.load(self.run.jobs()[-1].submission).current
        assert current is not None
        return current.job_id

    def log(self) -> str:
        """What the tasks of all jobs wrote."""
        return "\n".join(path.read_text() for job in self.run.jobs() for path in sorted(job.root.glob("*_log.out")))

    def attempts(self) -> list[AttemptRecord]:
        return [AttemptRecord.load(a.record) for a in self.run.attempts() if a.record.exists()]

    def outcomes(self) -> list[str]:
        return [record.outcome for record in self.attempts()]

    def wait(self, there: Callable[[], Any], what: str, seconds: float = LIFE_S) -> None:
        """Fails with the job's log."""

        def failure() -> str:
            ranks = [f"{log}: {log.read_text()[-1500:]}" for a in self.run.attempts() for log in a.root.glob("*.log")]
            return "\n".join([what, self.cluster.slurm("squeue", "--all"), self.log()[-6000:], *ranks])

        self.cluster.wait_until(lambda: bool(there()), failure, seconds)

    def wait_held(self, trap: Trap) -> None:
        self.wait(lambda: trap.holds is not None, f"nobody came to {trap.module} {trap.function} {trap.call}")

    def wait_said(self, words: str, times: int = 1) -> None:
        self.wait(lambda: self.log().count(words) >= times, f"never said {times} times: {words}")

    def wait_outcomes(self, *outcomes: str) -> None:
        self.wait(lambda: self.outcomes() == list(outcomes), f"attempts must be {outcomes}")

    def preempt(self, trap: Trap) -> float:
        """A job of the partition `high` takes the nodes while a rank stands in the trap. Gives the seconds from the
        signal to the end of the attempt."""
        self.wait_held(trap)
        said = self.log().count("stopping after this step")
        hog = self.cluster.hog()
        self.wait(lambda: self.log().count("stopping after this step") >= said + 4, "not every task heard the signal")
        asked = time.monotonic()
        ended = len([outcome for outcome in self.outcomes() if outcome != "running"])
        trap.let_go()
        self.wait(lambda: len([o for o in self.outcomes() if o != "running"]) > ended, "the attempt did not end")
        took = time.monotonic() - asked
        self.cluster.cancel(hog)
        return took

    def wait_finished(self) -> None:
        self.wait(lambda: self.outcomes()[-1:] == ["finished"], "the run did not finish")
        self.wait(lambda: self.cluster.job_state(self.job) not in ("RUNNING", "COMPLETING", "PENDING"), "job lives on")

    def check_equal(self) -> None:
        """Bits, samples, figures and TensorBoard are those of the run that nobody disturbed, on one machine."""
        assert differences(self.run, self.ground.undisturbed(STRATEGY, 4)) == []
        left = leftovers(self.run)
        assert not left, f"left behind: {left}"
        self.wait(lambda: not self.cluster.status()["processes"], "processes are left on a node", 30)


def commands_without(folder: Path, names: Iterable[str] = SLURM) -> Path:
    """A new folder with every command on PATH but some."""
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for path in Path(place).iterdir() if Path(place).is_dir() else ():
            if path.name not in names:
                (folder / path.name).unlink(missing_ok=True)
                (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground.prepare(tmp_path_factory.mktemp("cluster-ground"))


@pytest.fixture
def submitted(cluster: Cluster, ground: Ground, tmp_path: Path) -> Iterator[Submitted]:
    """A run that is not there yet; its traps are let go at the end."""
    found = Submitted(cluster, ground, RunFolder(tmp_path / "run"))
    yield found
    for trap in found.traps:
        trap.let_go()


def saved_steps(run: RunFolder) -> Sequence[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in run.checkpoints.glob("step-*"))
