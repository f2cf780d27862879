"""A process that the kernel killed for want of memory is told apart from one that somebody killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.oom_kills import oom_kills

pytestmark = pytest.mark.timeout(120)
LIMIT = 192 * 2**20
V1 = Path("/sys/fs/cgroup/memory")  # where version 1 is mounted; version 2 lies one folder above

# Rank 1 takes memory once it is let go, all of it written to; rank 0 waits. `killed`: rank 1 is killed by hand instead.
TOY = """
ready(2)
go = attempt / "go"
while not go.exists():
    time.sleep(0.01)
if rank == 1 and go.read_text() == "grow":
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1)) * 2**24)
elif rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""


@pytest.fixture
def limited() -> Iterator[Callable[[int], None]]:
    """Puts a process, and what it starts, under a limit of memory that the kernel holds it to."""
    parent, limit = (V1, "memory.limit_in_bytes") if V1.is_dir() else (V1.parent, "memory.max")
    own = parent / f"biodist-test-{os.getpid()}"
    try:
        own.mkdir()
        (own / limit).write_text(str(LIMIT))
    except OSError as error:
        if own.is_dir():
            own.rmdir()
        pytest.skip(f"a control group of one's own needs root and a mounted hierarchy: {error}")
    yield lambda pid: (own / "cgroup.procs").write_text(str(pid)) and None
    deadline = time.monotonic() + 10
    while (own / "cgroup.procs").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    own.rmdir()


@pytest.mark.root
def test_the_kernels_kill_is_named(launcher: Callable[..., Any], limited: Callable[[int], None]) -> None:
    said = ended(launcher, limited, "grow")
    assert (said["rank"], said["kind"], said["exit_code"]) == (1, "memory", 3)
    assert "no memory left" in said["message"]


@pytest.mark.root
def test_a_kill_by_hand_under_the_same_limit_is_not(
    launcher: Callable[..., Any], limited: Callable[[int], None]
) -> None:
    said = ended(launcher, limited, "kill")
    assert (said["rank"], said["kind"]) == (1, "killed")


def ended(launcher: Callable[..., Any], limited: Callable[[int], None], how: str) -> dict[str, Any]:
    launch = launcher(TOY, ranks=2)
    launch.wait_ready(2)
    for pid in (launch.process.pid, *launch.living()):
        limited(pid)
    (launch.attempt.root / "go").write_text(how)
    said: dict[str, Any] = launch.outcome()
    return said


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({"jobs/7/memory.events": "low 0\noom 9\noom_kill 4\n"}, "0::/jobs/7\n", 4),
        ({"unified/jobs/memory.events": "oom_kill 2\n"}, "1:cpu:/\n0::/jobs\n", 2),
        ({"memory/jobs/memory.oom_control": "under_oom 0\noom_kill 3\n"}, "4:memory,cpu:/jobs\n0::/\n", 3),
        ({}, "0::/\n", 11),  # the root group counts nothing: the whole machine does
        ({"jobs/memory.events": "oom_kill many\n"}, "0::/jobs\n", 11),
    ],
)
def test_every_kind_of_counter(tmp_path: Path, files: dict[str, str], membership: str, expected: int) -> None:
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (tmp_path / "membership").write_text(membership)
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 11\n")
    assert oom_kills(tmp_path / "groups", tmp_path / "membership", tmp_path / "vmstat") == expected


def test_no_counter_at_all_is_none(tmp_path: Path) -> None:
    assert oom_kills(tmp_path, tmp_path / "membership", tmp_path / "vmstat") == 0
