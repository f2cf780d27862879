"""How several runs stand: their files, and one question to Slurm for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from biodist.errors import BiodistError, MachineCannot
from biodist.run.folder import RunFolder
from launch.slurm.job_state import JobState
from launch.slurm.scheduler import Scheduler
from launch.standing import History, RunStanding, open_jobs, standing_of


@dataclass(frozen=True)
class Seen:
    """What was found of one run."""

    name: str  # as it was asked for
    standing: RunStanding | None
    problem: str = ""  # why it cannot be read


@dataclass(frozen=True)
class Survey:
    """All runs at one moment."""

    runs: tuple[Seen, ...]
    no_slurm: MachineCannot | None = None  # why Slurm did not answer; the runs are then as their files say

    @property
    def under_way(self) -> bool:
        return any(seen.standing is not None and seen.standing.under_way for seen in self.runs)


def survey(roots: Sequence[Path], scheduler: Scheduler | None = None) -> Survey:
    """Looks at every run. A run that cannot be read is reported, and so is a Slurm that does not answer."""
    histories = {root: _history(root) for root in roots}
    readable = [history for history in histories.values() if isinstance(history, History)]
    slurm, no_slurm = _asked(scheduler or Scheduler(), open_jobs(readable))
    return Survey(tuple(_seen(root, found, slurm) for root, found in histories.items()), no_slurm)


def _history(root: Path) -> History | str:
    try:
        return History.read(RunFolder(root.absolute()))
    except (BiodistError, OSError) as error:
        return str(error)


def _asked(scheduler: Scheduler, job_ids: list[str]) -> tuple[dict[str, JobState] | None, MachineCannot | None]:
    try:
        return scheduler.jobs(job_ids), None
    except MachineCannot as error:
        return None, error


def _seen(root: Path, found: History | str, slurm: dict[str, JobState] | None) -> Seen:
    if isinstance(found, str):
        return Seen(str(root), None, found)
    try:
        return Seen(str(root), standing_of(found, slurm))
    except (BiodistError, OSError, ValueError, KeyError) as error:
        return Seen(str(root), None, str(error))
