"""The processes of the cluster, found by what they are and never by a recorded number, which may be another's by now.

A daemon is a process with exactly the command line that started it, state folder included. A node's work is what
descends from its slurmd, its step daemons (they stand in its spool folder), and every process that Slurm started there,
which its environment says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from development.configuration import StateFolder
from development.refusal import Refusal

PROC = Path("/proc")


def daemon_pids(folder: StateFolder) -> dict[str, int]:
    """The living daemons: name to process."""
    names = {command: name for name, command in folder.daemons().items()}
    return {names[command]: pid for pid in _pids() if (command := _command(pid)) in names}


def node_pids(folder: StateFolder, node: str) -> set[int]:
    """What Slurm started on a node: step daemons, batch scripts, tasks and all that these started; not its slurmd."""
    marks = {f"SLURM_CONF={folder.slurm_conf}", f"SLURMD_NODENAME={node}"}
    found = {pid for pid in _pids() if _is_step_daemon(pid, folder.spool(node)) or marks <= _environment(pid)}
    return _with_descendants(found)


def start(command: tuple[str, ...], folder: StateFolder, log: Path, place: Path) -> subprocess.Popen[bytes]:
    """Starts a daemon in a session of its own, in the folder ``place``, with nothing of the caller's environment."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "SLURM_CONF": str(folder.slurm_conf)}
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=place,
            env=environment,
            start_new_session=True,
        )


def kill(find: Callable[[], set[int]], limit_s: float = 20) -> None:
    """Kills what ``find`` finds until it finds nothing more: what was about to start is found the next time.

    All are stopped before one is killed: a step daemon that outlived its task by a moment would tell the controller of
    a failure, where a lost node is silent. Raises Refusal when something is still there after ``limit_s`` seconds."""
    deadline = time.monotonic() + limit_s
    while pids := find():
        if time.monotonic() > deadline:
            raise Refusal(f"these processes cannot be killed: {', '.join(map(str, sorted(pids)))}")
        handles = {pid: handle for pid in pids if (handle := _handle(pid)) is not None}
        still = find()  # with its handle open, a number cannot pass on to another process
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in handles.keys() & still:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handles[pid], number)
        for handle in handles.values():
            os.close(handle)
        time.sleep(0.05)


def name(pid: int) -> str:
    """The kernel's short name of a process; empty when it is gone."""
    return _read(pid, "comm").decode(errors="replace").strip()


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _command(pid: int) -> tuple[str, ...]:
    return tuple(_read(pid, "cmdline").decode(errors="replace").split("\0")[:-1])


def _environment(pid: int) -> set[str]:
    return set(_read(pid, "environ").decode(errors="replace").split("\0"))


def _is_step_daemon(pid: int, spool: Path) -> bool:
    """slurmstepd overwrites its command line and environment; it keeps the folder its slurmd was started in."""
    try:
        return (PROC / str(pid) / "exe").readlink().name.startswith("slurmstepd") and (
            PROC / str(pid) / "cwd"
        ).readlink() == spool
    except OSError:
        return False


def _with_descendants(pids: set[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid in _pids():
        fields = _read(pid, "stat").rpartition(b")")[2].split()
        if fields and fields[0] != b"Z":
            children.setdefault(int(fields[1]), []).append(pid)
    found, todo = set(pids), list(pids)
    while todo:
        todo = [child for pid in todo for child in children.get(pid, ()) if child not in found]
        found.update(todo)
    return found


def _read(pid: int, entry: str) -> bytes:
    try:
        return (PROC / str(pid) / entry).read_bytes()
    except OSError:
        return b""


def _handle(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
