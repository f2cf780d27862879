"""The cluster: made, looked at, a node lost and brought back, and unmade."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from development import processes
from development.configuration import NODES, StateFolder, host_and_address, ports
from development.refusal import Refusal

Started = dict[str, "subprocess.Popen[bytes]"]  # by name, as `StateFolder.daemons` has them

START_S = 90  # until every node is idle, on a busy machine
TAIL = 15  # lines of each log that a failure shows


@dataclass(frozen=True)
class Cluster:
    """The cluster whose state is in ``folder``, running or not."""

    folder: StateFolder

    @property
    def is_up(self) -> bool:
        """Whether its controller lives; nodes may be lost."""
        return self.folder.slurm_conf.exists() and {"munged", "slurmctld"} <= processes.daemon_pids(self.folder).keys()

    @property
    def has_remains(self) -> bool:
        """Whether anything of it is there: running, or what one that died has left."""
        return self.folder.root.exists() or bool(processes.daemon_pids(self.folder))

    def make(self, user_signal: bool, first_port: int) -> None:
        """Starts every daemon and waits until a job ran on all nodes. Raises Refusal, with the end of every log and
        nothing left running, when that does not happen in time."""
        _check_ports(first_port)
        self.folder.write(user_signal, first_port)
        try:
            started = {"munged": self._start("munged")}
            self._wait_until(self.folder.munge_socket.exists, "munged did not open its socket", started)
            started |= {name: self._start(name) for name in ("slurmctld", *NODES)}
            self._wait_until(self._all_idle, "not every node became idle", started)
            self.slurm("srun", f"--nodes={len(NODES)}", "--partition=high", "--time=1", "--quiet", "true")
        except BaseException as error:
            logs = self._log_tails()
            self.unmake()
            if isinstance(error, Refusal):
                raise Refusal(f"{error}\n{logs}") from None
            raise

    def unmake(self) -> None:
        """Ends every job and daemon, at once and without grace, then removes the state folder."""
        for node in NODES:
            self.kill_node(node)
        processes.kill(lambda: set(processes.daemon_pids(self.folder).values()))
        if self.folder.root.exists():
            shutil.rmtree(self.folder.root)

    def kill_node(self, node: str) -> None:
        """Loses a node: SIGKILL for its slurmd and all that Slurm started there."""

        def slurmd() -> set[int]:
            return {pid for name, pid in processes.daemon_pids(self.folder).items() if name == node}

        processes.kill(lambda: slurmd() | processes.node_pids(self.folder, node))

    def start_node(self, node: str) -> None:
        """Brings a lost node back; one that lives is left alone."""
        lives = node in processes.daemon_pids(self.folder)
        started = {} if lives else {node: self._start(node)}
        self._wait_until(lambda: not self._is_lost(node), f"{node} did not come back", started)

    def describe(self) -> dict[str, Any]:
        """What `status --json` prints; needs a running cluster."""
        return {
            "root": str(self.folder.root),
            "user_signal": self.folder.with_user_signal,
            "nodes": self._node_states(),
            "partitions": self._table("sinfo", "partition=%R state=%a limit=%l nodes=%F"),
            "jobs": self._table("squeue", "job=%i partition=%P state=%T reason=%r nodes=%N"),
            "processes": [
                {"node": node, "pid": pid, "name": processes.name(pid)}
                for node in NODES
                for pid in sorted(processes.node_pids(self.folder, node))
            ],
        }

    def slurm(self, *command: str, limit_s: float = 60) -> str:
        """What one of Slurm's commands prints. Raises Refusal with its own words."""
        # Called from inside a job, these would change what the command means.
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
        environment["SLURM_CONF"] = str(self.folder.slurm_conf)
        try:
            done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise Refusal(f"{command[0]} did not answer within {limit_s:.0f} s") from None
        if done.returncode:
            raise Refusal(f"{command[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        folder = self.folder
        # A step daemon keeps its slurmd's folder: that is how `processes` knows whose it is.
        place = folder.spool(name) if name in NODES else folder.root
        return processes.start(folder.daemons()[name], folder, folder.log(name), place)

    def _node_states(self) -> dict[str, str]:
        rows = self.slurm("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %T").split("\n")
        return dict(row.split() for row in rows if row)

    def _all_idle(self) -> bool:
        return set(self._node_states().values()) == {"idle"}

    def _is_lost(self, node: str) -> bool:
        state = self._node_states().get(node, "down")
        return state.endswith("*") or state.startswith(("down", "unknown"))

    def _wait_until(self, condition: Callable[[], bool], failure: str, started: Started) -> None:
        """Raises Refusal when the condition has not come true in time, with Slurm's last words if there are any, and
        at once when one of the daemons has ended."""
        deadline, last = time.monotonic() + START_S, ""
        while True:
            try:
                if condition():
                    return
            except Refusal as refusal:
                last = f" ({refusal})"
            if ended := [name for name, daemon in started.items() if daemon.poll() is not None]:
                raise Refusal(f"{failure}: {', '.join(ended)} ended")
            if time.monotonic() > deadline:
                raise Refusal(f"{failure} within {START_S} s{last}")
            time.sleep(0.2)

    def _table(self, command: str, fields: str) -> list[dict[str, str]]:
        names = [field.partition("=")[0] for field in fields.split()]
        form = "|".join(field.partition("=")[2] for field in fields.split())
        rows = self.slurm(command, "--noheader", f"--format={form}").splitlines()
        return [dict(zip(names, row.split("|"), strict=True)) for row in rows]

    def _log_tails(self) -> str:
        ends = []
        for log in sorted((self.folder.root / "logs").glob("*.log")):
            ends += [f"--- the end of {log.name}", *log.read_text(errors="replace").splitlines()[-TAIL:]]
        return "\n".join(ends)


def _check_ports(first_port: int) -> None:
    _, address = host_and_address()
    taken = [str(port) for port in ports(first_port) if not _is_free(address, port)]
    if taken:
        raise Refusal(
            f"{address} has no free port {', '.join(taken)}: perhaps a cluster under another --root is up. "
            "Choose others with --port, or end what listens there (`ss -ltnp` names it)"
        )


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
