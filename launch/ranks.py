"""The processes of one attempt on this machine: started together, ended together, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from biodist.errors import MachineCannot
from biodist.run.process import process_stat
from biodist.run.records import Ending, Failure
from biodist.run.tether import HELD_BACK
from launch.oom_kills import oom_kills
from launch.requests import held_back

_REAP_S = 10.0


@dataclass(frozen=True)
class Command:
    """What one rank runs, and where its output goes."""

    rank: int
    argv: Sequence[str]
    log: Path
    keeps: tuple[int, ...] = ()  # open files that it takes over, under the same numbers


class Ranks:
    """One process a rank, each in a session of its own. A context manager: leaving it ends them and all they started.

    An ended rank is not collected until then, so that its number, which is also its group's, cannot become another's.
    Enter it in the thread that outlives the ranks: they end when that one does.
    """

    def __init__(self, commands: Iterable[Command], environment: Mapping[str, str]):
        self._commands = tuple(commands)
        self._environment = dict(environment)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._endings: dict[int, Ending] = {}
        self._oom_kills = oom_kills()

    def __enter__(self) -> Ranks:
        try:
            for command in self._commands:
                self._processes[command.rank] = self._start(command)
        except OSError as error:
            self.close()
            rank = len(self._processes)
            raise MachineCannot(f"rank {rank} could not be started: {error.strerror} ({error.filename})") from None
        except BaseException:
            self.close()
            raise
        return self

    def _start(self, command: Command) -> subprocess.Popen[bytes]:
        # A signal sent to a rank before it listens waits for it, instead of ending it (see biodist.run.tether).
        with held_back(HELD_BACK), command.log.open("ab") as log:
            return subprocess.Popen(
                list(command.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                pass_fds=command.keeps,
            )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def endings(self) -> list[Ending]:
        """Of the ranks known to have ended, in the order noticed."""
        return list(self._endings.values())

    @property
    def running(self) -> list[int]:
        """Ranks not known to have ended."""
        return [rank for rank in self._processes if rank not in self._endings]

    def look(self) -> None:
        """Notices the ranks that have ended."""
        for rank in self.running:
            status = _ended(self._processes[rank])
            if status is not None:
                starved = status == -signal.SIGKILL and oom_kills() > self._oom_kills
                self._endings[rank] = Ending(rank=rank, status=status, time=time.time(), out_of_memory=starved)

    def signal(self, number: signal.Signals) -> None:
        """Sends it to every rank that runs."""
        for rank in self.running:
            with suppress(ProcessLookupError):
                os.kill(self._processes[rank].pid, number)

    def stopped(self) -> list[int]:
        """Ranks that stand still until somebody continues them."""
        stats = {rank: process_stat(self._processes[rank].pid) for rank in self.running}
        return [rank for rank, stat in stats.items() if stat is not None and stat.stopped]

    def silent(self) -> list[Failure]:
        """None: every rank here is a child of this process, and its end is known."""
        return []

    def close(self) -> None:
        """Kills every rank's whole group and collects the ranks."""
        for process in self._processes.values():
            if process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes.values():
            # A process that waits for a dead disk cannot be killed; do not wait for it for ever.
            with suppress(subprocess.TimeoutExpired):
                process.wait(_REAP_S)


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    if not hasattr(os, "waitid"):  # macOS
        return process.poll()
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
