"""Where this worker stands: its rank, its attempt, its rendezvous. Read once from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from biodist.run.folder import AttemptFolder
from biodist.run.lease import Fence


@dataclass(frozen=True)
class Placement:
    """One process of an attempt."""

    attempt: Path
    rank: int
    local_rank: int
    world_size: int
    rendezvous: str  # file:///… on one machine, tcp://host:port between nodes
    lease: str  # token of the lease under which this attempt may publish
    parent: int  # process id of the launcher; 0: none
    listening: int | None = None  # rank 0, between nodes: the open socket that listens at the rendezvous already

    @property
    def leads(self) -> bool:
        """Whether this process writes what is written once: streams, manifests, results."""
        return self.rank == 0

    @property
    def fence(self) -> Fence:
        """What this process passes before it changes anything outside its attempt's folder."""
        attempt = AttemptFolder(self.attempt)
        return Fence(attempt.run, attempt.number, self.lease)

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Placement:
        """Reads a worker's command line."""
        parser = argparse.ArgumentParser(prog="biodist.training.worker", description="One process of an attempt.")
        parser.add_argument("--attempt", type=Path, required=True, help="attempt folder with plan.json")
        parser.add_argument("--rank", type=int, required=True)
        parser.add_argument("--local-rank", type=int, required=True)
        parser.add_argument("--world-size", type=int, required=True)
        parser.add_argument("--rendezvous", required=True, help="file:///… or tcp://…")
        parser.add_argument("--lease", default="", help="token of the run's lease")
        parser.add_argument("--parent", type=int, default=0, help="launcher's process id; the worker ends with it")
        parser.add_argument("--listening", type=int, help="rank 0: number of the open socket at the rendezvous")
        given = parser.parse_args(arguments)
        return cls(
            attempt=given.attempt,
            rank=given.rank,
            local_rank=given.local_rank,
            world_size=given.world_size,
            rendezvous=given.rendezvous,
            lease=given.lease,
            parent=given.parent,
            listening=given.listening,
        )
