"""How many processes the kernel has killed for want of memory, as far as this process can see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
WHOLE_MACHINE = Path("/proc/vmstat")


def oom_kills(root: Path = CGROUPS, membership: Path = MEMBERSHIP, machine: Path = WHOLE_MACHINE) -> int:
    """Of this process's own control group; of the whole machine where no group counts them. It only ever grows.

    A process that ended by SIGKILL while this number grew was most likely one of them.
    """
    counted = [count for path in _counters(root, membership) if (count := _count(path)) is not None]
    return counted[0] if counted else _count(machine) or 0


def _counters(root: Path, membership: Path) -> Iterator[Path]:
    """The files that count for this process's own group: version 2, then version 1 of control groups."""
    for line in _lines(membership):
        _, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if not controllers:
            yield from (mount / inside / "memory.events" for mount in (root, root / "unified"))
        elif "memory" in controllers.split(","):
            yield root / "memory" / inside / "memory.oom_control"


def _count(path: Path) -> int | None:
    for line in _lines(path):
        name, _, number = line.partition(" ")
        if name == "oom_kill" and number.strip().isdigit():
            return int(number)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
