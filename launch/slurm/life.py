"""One task of a job, and one life of that job: a requeued job has the same number and starts anew."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from submitit.slurm.slurm import SlurmJobEnvironment

from biodist.errors import MachineCannot
from biodist.run.folder import JobFolder
from biodist.run.records import Record

_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Life:
    """What Slurm says of this task, read once from its environment."""

    job_id: str  # 4711, or 4711_2 in an array
    restart: int
    rank: int
    local_rank: int
    world_size: int
    node: str
    nodes: tuple[str, ...]  # of the job, by number

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Life:
        """Raises MachineCannot when this is no task of a Slurm job."""
        try:
            array = environment.get("SLURM_ARRAY_JOB_ID")
            return cls(
                job_id=f"{array}_{environment['SLURM_ARRAY_TASK_ID']}" if array else environment["SLURM_JOB_ID"],
                restart=int(environment.get("SLURM_RESTART_COUNT", "0")),
                rank=int(environment["SLURM_PROCID"]),
                local_rank=int(environment["SLURM_LOCALID"]),
                world_size=int(environment["SLURM_NTASKS"]),
                node=environment["SLURMD_NODENAME"],
                nodes=tuple(SlurmJobEnvironment().hostnames),
            )
        except KeyError as error:
            raise MachineCannot(
                f"not a task of a Slurm job: {error.args[0]} is not set; use `biodist submit`"
            ) from None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def node_of(self, rank: int) -> str:
        """Ranks lie in blocks, as many on every node."""
        return self.nodes[rank * len(self.nodes) // self.world_size]

    @property
    def name(self) -> str:
        return f"job {self.job_id}" + (f", restart {self.restart}" if self.restart else "")


class Call(Record):
    """What the leader tells the other tasks: which attempt, where the ranks meet; or that there is nothing to do."""

    attempt: int | None = None
    rendezvous: str = ""
    probe: str = ""  # host:port where the leader answers; empty when all ranks share one node
    lease: str = ""
    exit_code: int | None = None
    why: str = ""


def await_call(job: JobFolder, life: Life, patience_s: float) -> Call:
    """Waits for the leader's call. Raises MachineCannot when it does not come."""
    path = job.call(life.job_id, life.restart)
    until = time.monotonic() + patience_s
    while True:
        if is_listed(path):
            return Call.load(path)
        if time.monotonic() > until:
            raise MachineCannot(
                f"rank {life.rank} on {life.node} waited {patience_s:.0f} s for {path} and saw nothing: rank 0 did not "
                f"start, or {life.node} does not share this folder with {life.nodes[0]}; see the job's log"
            )
        time.sleep(_LOOK_EVERY_S)


def is_listed(path: Path) -> bool:
    """Whether its folder lists it. Opening the folder anew is what makes a network file system look again."""
    return path.parent.is_dir() and any(found.name == path.name for found in path.parent.iterdir())
