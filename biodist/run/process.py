"""Which process is which: a number that was used again is not the same process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessStat:
    """What the kernel says of a living process."""

    state: str  # one letter: R running, S sleeping, D disk, T stopped, t traced, Z ended but not yet collected
    start_ticks: int  # since boot; with the process id it names a process for good

    @property
    def alive(self) -> bool:
        return self.state not in ("Z", "X", "x")

    @property
    def stopped(self) -> bool:
        """Whether it stands still until somebody continues it (SIGSTOP, Ctrl-Z, a debugger)."""
        return self.state in ("T", "t")


def process_stat(pid: int) -> ProcessStat | None:
    """The process's state, or None when there is no such process.

    Without /proc (not Linux) a living process counts as running since tick 0.
    """
    if not _PROC.joinpath("self", "stat").exists():
        return ProcessStat("R", 0) if _answers(pid) else None
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name stands in brackets and may hold anything, brackets and spaces too: count from the last one.
    fields = text[text.rindex(b")") + 2 :].split()
    return ProcessStat(state=fields[0].decode(), start_ticks=int(fields[19]))


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def process_space() -> str:
    """Names the set of process numbers that this process sees: this boot of this machine, this container.

    Two processes with the same one can look each other up by number; others cannot.
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return f"host/{os.uname().nodename}"
