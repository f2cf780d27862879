"""Every path of a run. No other module joins a path inside a run's folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from biodist.errors import Problem, UserError
from biodist.run.durable import sync_folder

_NUMBER = re.compile(r"\d{4,}")
_FAILURE = re.compile(r"failure-rank-(\d+)\.json")
_ENDING = re.compile(r"rank-(\d+)\.json")
_SEED = re.compile(r"seed-(0|[1-9]\d*)")


def run_root(recipe_name: str, core_digest: str, base: Path = Path("runs")) -> Path:
    """Where a run lives when the user names no folder: `runs/<name>-<8 hex of the recipe's core>`."""
    return base / f"{recipe_name}-{core_digest[:8]}"


def seeds_root(recipe_name: str, core_digest: str, base: Path = Path("runs")) -> Path:
    """Where the seeds of a recipe live when the user names no folder: `runs/<name>-<8 hex of its core>-seeds`."""
    run = run_root(recipe_name, core_digest, base)
    return run.with_name(f"{run.name}-seeds")


@dataclass(frozen=True)
class RunFolder:
    """One training, one folder."""

    root: Path

    @classmethod
    def prepare(cls, root: Path, sensitive: bool = False) -> RunFolder:
        """Makes the folder, or takes up the run that is in it. `sensitive`: its owner alone can read it (0700).

        Raises UserError when `root` is a file, cannot be made, or holds something that is no run.
        """
        run = cls(root.absolute())
        take_up(
            run.root, f"run folder {root}", sensitive, lambda: "" if run.is_run() else "is not empty and is not a run"
        )
        return run

    def is_run(self) -> bool:
        """Whether a run lives here. A recipe alone does not make a run: it may be the user's own."""
        return self.lease_lock.exists() or (self.recipe.exists() and self.attempts_root.is_dir())

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def provenance(self) -> Path:
        return self.root / "provenance.json"

    @property
    def lease(self) -> Path:
        return self.root / "lease.json"

    @property
    def lease_lock(self) -> Path:
        return self.root / "lease.lock"

    @property
    def samples(self) -> Path:
        return self.root / "samples.jsonl"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def encoder(self) -> Path:
        """Config and tokenizer of the model, without weights: what an export needs beside a checkpoint."""
        return self.root / "encoder"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def attempts_root(self) -> Path:
        return self.root / "attempts"

    @property
    def jobs_root(self) -> Path:
        return self.root / "jobs"

    def jobs(self) -> list[JobFolder]:
        """All submissions to a cluster, by number."""
        return [JobFolder(path) for path in _numbered(self.jobs_root)]

    def new_job(self) -> JobFolder:
        """Makes the next submission's folder. Two callers never get the same one. Raises OSError."""
        return JobFolder(_next_numbered(self.jobs_root))

    def checkpoint(self, step: int) -> Path:
        """The folder of one checkpoint."""
        return self.checkpoints / f"step-{step:08d}"

    def attempts(self) -> list[AttemptFolder]:
        """All attempts, by number."""
        return [AttemptFolder(path) for path in _numbered(self.attempts_root)]

    def next_number(self) -> int:
        """The number the next attempt gets; attempts count from 1."""
        attempts = self.attempts()
        return attempts[-1].number + 1 if attempts else 1

    def new_attempt(self) -> AttemptFolder:
        """Makes the next attempt's folder. Two callers never get the same one. Raises OSError."""
        return AttemptFolder(_next_numbered(self.attempts_root))


@dataclass(frozen=True)
class NumberedFolder:
    """A folder of a run that is one of many, by number, and keeps the plan it went by."""

    root: Path

    @property
    def number(self) -> int:
        return int(self.root.name)

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.root.absolute().parent.parent)

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"


@dataclass(frozen=True)
class AttemptFolder(NumberedFolder):
    """One process group's life inside a run. Workers append only here."""

    @property
    def record(self) -> Path:
        return self.root / "attempt.json"

    @property
    def rendezvous(self) -> Path:
        """The file through which ranks find each other; there while they run."""
        return self.root / "rendezvous"

    @property
    def model_staging(self) -> Path:
        """Where this attempt makes the run's `model/`: in its own folder, where it is in nobody's way."""
        return self.root / ".staging-model"

    def unfinished(self) -> list[Path]:
        """Folders that this attempt was still making: its own to remove, whoever holds the run."""
        return [*self.run.checkpoints.glob(f".staging-{self.root.name}-*"), *self.root.glob(".staging-*")]

    def log(self, rank: int) -> Path:
        """What a rank wrote to its standard output and error."""
        return self.root / f"rank-{rank}.log"

    def events(self, rank: int) -> Path:
        """A rank's events, JSON lines."""
        return self.root / f"events-rank-{rank}.jsonl"

    def failure(self, rank: int) -> Path:
        """Why a rank failed, written by itself."""
        return self.root / f"failure-rank-{rank}.json"

    def failures(self) -> Iterator[int]:
        """The ranks that say why they failed. One look at the folder, however many ranks there are."""
        for path in self.root.iterdir():
            if (found := _FAILURE.fullmatch(path.name)) is not None:
                yield int(found[1])

    def ending(self, rank: int) -> Path:
        """How the process of a rank on another node ended."""
        return self.root / "endings" / f"rank-{rank}.json"

    def endings(self) -> Iterator[int]:
        """The ranks that are known to have ended, on whatever node."""
        folder = self.root / "endings"
        for path in folder.iterdir() if folder.is_dir() else ():
            if (found := _ENDING.fullmatch(path.name)) is not None:
                yield int(found[1])


@dataclass(frozen=True)
class JobFolder(NumberedFolder):
    """One submission to a cluster: what was submitted, and what its jobs leave behind."""

    @property
    def profile(self) -> Path:
        """The profile as resolved."""
        return self.root / "profile.yaml"

    @property
    def script(self) -> Path:
        """The very script that was given to sbatch."""
        return self.root / "script.sh"

    @property
    def submission(self) -> Path:
        return self.root / "submission.json"

    @property
    def cancelled(self) -> Path:
        """There once a user has cancelled this submission: its jobs do not come back."""
        return self.root / "cancelled.json"

    def call(self, job_id: str, restart: int) -> Path:
        """What the leader tells the other tasks of one life of a job."""
        return self.root / "calls" / f"{job_id}-{restart}.json"

    def claim(self, job_id: str, restart: int) -> Path:
        """Made by the one task that brings the job back."""
        return self.root / "claims" / f"{job_id}-{restart}"

    def claims(self) -> list[Path]:
        """Of all lives of all jobs."""
        folder = self.root / "claims"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def handover(self, job_id: str, restart: int) -> Path:
        """What brings the job back, left to its batch script by a task that has no Slurm; gone once it is done."""
        return self.root / "handovers" / f"{job_id}-{restart}.sh"

    def following_script(self, job_id: str, restart: int) -> Path:
        """The script of the job that then takes its place."""
        return self.root / "handovers" / f"{job_id}-{restart}-next.sbatch"

    def handovers(self) -> list[Path]:
        """Those that nobody has carried out."""
        folder = self.root / "handovers"
        return sorted(folder.glob("*.sh")) if folder.is_dir() else []

    def call_of(self, claim: Path) -> Path:
        """The call in the same life as a claim."""
        return self.root / "calls" / f"{claim.name}.json"


@dataclass(frozen=True)
class SeedsFolder:
    """One recipe with several seeds: an ordinary run of each in `seed-<N>`, and what they come to."""

    root: Path

    @classmethod
    def prepare(cls, root: Path, sensitive: bool = False) -> SeedsFolder:
        """Makes the folder, or takes up the seeds that are in it. `sensitive`: its owner alone can read it (0700).

        Raises UserError when `root` is a file or a run, cannot be made, or holds something else.
        """
        folder = cls(root.absolute())
        take_up(folder.root, f"folder of seeds {root}", sensitive, folder._strange)
        return folder

    def _strange(self) -> str:
        if RunFolder(self.root).is_run():
            return "is one run, not a folder of several"
        return "" if self.holds_seeds() else "is not empty and holds no seeds"

    def holds_seeds(self) -> bool:
        """Whether seeds live here."""
        return bool(self.seeds())

    def seeds(self) -> list[int]:
        """Those that are here, in order, begun or not."""
        if not self.root.is_dir():
            return []
        found = ((_SEED.fullmatch(path.name), path) for path in self.root.iterdir())
        return sorted(int(name[1]) for name, path in found if name is not None and path.is_dir())

    def run(self, seed: int) -> RunFolder:
        """The run of one seed."""
        return RunFolder(self.root / f"seed-{seed}")

    def runs(self) -> list[RunFolder]:
        """The runs of all seeds that are here, in order."""
        return [self.run(seed) for seed in self.seeds()]

    @property
    def summary(self) -> Path:
        """What the runs come to, made of them."""
        return self.root / "seeds.json"


def take_up(root: Path, where: str, sensitive: bool, strange: Callable[[], str]) -> None:
    """Makes a folder, or takes up what is in it; `strange` says why that is nothing to go on with.

    Raises UserError that names `where`.
    """
    do = "name another folder with --run"
    if why := _unfit(root, strange):
        raise UserError(Problem(where, why, do))
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700 if sensitive else 0o777, exist_ok=True)
        if sensitive:
            root.chmod(0o700)
    except OSError as error:
        raise UserError(Problem(where, f"cannot be made: {error.filename}: {error.strerror}", do)) from None


def _unfit(root: Path, strange: Callable[[], str]) -> str:
    if root.is_symlink() and not root.exists():
        return "is a link that leads nowhere"
    if not root.exists():
        return ""
    if not root.is_dir():
        return "is a file, must be a folder"
    try:
        empty = next(root.iterdir(), None) is None
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if empty else strange()


def _numbered(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NUMBER.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name))


def _next_numbered(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    there = _numbered(root)
    number = int(there[-1].name) + 1 if there else 1
    while True:
        folder = root / f"{number:04d}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        sync_folder(root)
        return folder
