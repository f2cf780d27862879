"""Every path of a sweep: its trials are ordinary runs, its ledger says what became of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from biodist.run.folder import RunFolder, SeedsFolder, take_up

_KEY = re.compile(r"[0-9a-f]{8}-\d{4,}")


def sweep_root(name: str, digest: str, base: Path = Path("runs")) -> Path:
    """Where a sweep lives when the user names no folder: `runs/<name>-<8 hex of what it searches>-sweep`."""
    return base / f"{name}-{digest[:8]}-sweep"


class DriverFolder(RunFolder):
    """Holds the lease of a sweep's driver, and the jobs it was submitted as. No run, so its files have other names."""

    @property
    def lease(self) -> Path:
        return self.root / "driver.json"

    @property
    def lease_lock(self) -> Path:
        return self.root / "driver.lock"


@dataclass(frozen=True)
class SweepFolder:
    """One search, one folder."""

    root: Path

    @classmethod
    def prepare(cls, root: Path, sensitive: bool = False) -> SweepFolder:
        """Makes the folder, or takes up the sweep that is in it. `sensitive`: its owner alone can read it (0700).

        Raises UserError when `root` is a file, cannot be made, or holds something that is no sweep.
        """
        folder = cls(root.absolute())
        take_up(
            folder.root,
            f"sweep folder {root}",
            sensitive,
            lambda: "" if folder.is_sweep() else "is not empty and is not a sweep",
        )
        for part in (folder.trials, folder.logs, folder.driver.root):
            part.mkdir(exist_ok=True)
        return folder

    def is_sweep(self) -> bool:
        """Whether a sweep lives here."""
        return self.sweep.exists() or self.driver.root.is_dir()

    @property
    def sweep(self) -> Path:
        """The sweep as resolved."""
        return self.root / "sweep.yaml"

    @property
    def recipe(self) -> Path:
        """The recipe that every trial starts from, as resolved."""
        return self.root / "recipe.yaml"

    @property
    def place(self) -> Path:
        """Where the trials run."""
        return self.root / "place.json"

    @property
    def ledger(self) -> Path:
        """What was decided and what came of it, a JSON line an event: the truth of the sweep."""
        return self.root / "ledger.jsonl"

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    def trial(self, key: str) -> RunFolder:
        """The run of one trial."""
        return RunFolder(self.trials / key)

    def trial_keys(self) -> list[str]:
        """The trials that have a folder, by number."""
        found = self.trials.iterdir() if self.trials.is_dir() else ()
        keys = [path.name for path in found if _KEY.fullmatch(path.name)]
        return sorted(keys, key=lambda key: int(key.rpartition("-")[2]))

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, key: str) -> Path:
        """What the process of a trial said, where one on this machine runs it."""
        return self.logs / f"{key}.log"

    @property
    def driver(self) -> DriverFolder:
        """Of the one process that drives the sweep."""
        return DriverFolder(self.root / "driver")

    @property
    def table(self) -> Path:
        return self.root / "trials.csv"

    @property
    def parquet(self) -> Path:
        return self.root / "trials.parquet"

    @property
    def best(self) -> Path:
        """The recipe with the best trial's settings."""
        return self.root / "best.yaml"

    @property
    def promoted(self) -> Path:
        return self.root / "promoted"

    def seeds_of(self, key: str) -> SeedsFolder:
        """The runs of a promoted configuration, named by its first trial."""
        return SeedsFolder(self.promoted / key)
