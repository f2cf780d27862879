"""Ranks meet through a file, whatever the run's folder is called."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from biodist.run.folder import AttemptFolder, RunFolder
from launch.rendezvous import rendezvous

pytestmark = pytest.mark.timeout(120)

MEETS = """
import sys, torch, torch.distributed as dist
from datetime import timedelta
rank = int(sys.argv[2])
dist.init_process_group("gloo", init_method=sys.argv[1], rank=rank, world_size=2, timeout=timedelta(seconds=60))
one = torch.ones(1)
dist.all_reduce(one)
print(int(one))
dist.destroy_process_group()
"""


def path_of(address: str) -> Path:
    return Path(address.removeprefix("file://"))


@pytest.mark.parametrize("name", ["a run é%20实验", "what? #1; 50%"])
def test_ranks_meet(tmp_path: Path, name: str) -> None:
    attempt = RunFolder.prepare(tmp_path / name).new_attempt()
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    with rendezvous(attempt) as address:
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", MEETS, address, str(rank)], stdout=subprocess.PIPE, text=True, env=environment
            )
            for rank in range(2)
        ]
        try:
            assert [rank.communicate(timeout=90)[0] for rank in ranks] == ["2\n", "2\n"]
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait(30)
    assert list(attempt.root.iterdir()) == [] and not path_of(address).exists()


def test_it_is_in_the_attempts_folder_where_that_serves(tmp_path: Path) -> None:
    attempt = RunFolder.prepare(tmp_path / "run").new_attempt()
    attempt.rendezvous.write_text("left by nobody we know")
    with rendezvous(attempt) as address:
        assert path_of(address) == attempt.rendezvous and not attempt.rendezvous.exists()


def test_elsewhere_it_is_private_and_removed(tmp_path: Path) -> None:
    with rendezvous(AttemptFolder(tmp_path / "absent" / "0001")) as address:
        folder = path_of(address).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        path_of(address).touch()
    assert not folder.exists()
