"""What Slurm says to a submission: some of it passes by waiting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from biodist.errors import MachineCannot
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.backend import Launch, Refused
from biodist.sweeps.ledger import Started
from biodist.sweeps.slurm import SlurmBackend

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("words", "waits"),
    [
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", True),
        ("sbatch: error: AssocMaxSubmitJobLimit", True),
        ("Unable to contact slurm controller (connect failure)", True),
        ("sbatch: error: invalid partition specified: gpu", False),
    ],
)
def test_what_passes_by_waiting_does_not_end_the_sweep(tmp_path: Path, words: str, waits: bool) -> None:
    def submit(launches: Sequence[Launch]) -> tuple[dict[str, str], list[Refused]]:
        raise MachineCannot(words)

    said: list[str] = []
    noted: list[Started] = []
    folder = SweepFolder.prepare(tmp_path / "swept")
    backend = SlurmBackend(folder, submit, slots=2, gpus=0, say=said.append)
    launches = [Launch("0123abcd-0001", folder.trial("0123abcd-0001"), ())]
    if waits:
        assert backend.start(launches, noted.append) == [] and words in said[0]
    else:
        with pytest.raises(MachineCannot, match="invalid partition"):
            backend.start(launches, noted.append)
    assert not noted
