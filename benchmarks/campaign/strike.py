"""Delivers the blows: waits until a process stands at the instant, strikes, and sees how the attempt ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from biodist.errors import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED
from biodist.run.process import process_stat
from campaign.cases import Blow, Case, Kind
from campaign.ground import HANG_S, LIMIT_S, Ground, launched
from campaign.traps import Trap, environment

TURN_S = 0.02
GONE_S = 10.0  # a worker that outlives its launcher by more than this was left behind
NOT_ENDED = 124  # the exit code that `timeout` gives as well
ASKED = {Kind.TERM: signal.SIGTERM, Kind.USR2: signal.SIGUSR2}


@dataclass(frozen=True)
class Ended:
    """How an attempt under blows ended."""

    struck: int  # of its blows
    exit_code: int
    problems: tuple[str, ...]


def run_attempt(ground: Ground, case: Case, folder: Path, blows: Sequence[Blow], skips: Sequence[Trap] = ()) -> Ended:
    """One attempt of a case's run in ``folder``, with its blows; none lets it go to its end."""
    run = folder / "run"
    overrides = [f"distributed.timeout_s={HANG_S}"] if case.has_stopped_rank else []
    prepares = any(blow.moment.name == "data preparation" for blows in case.attempts for blow in blows)
    cache = folder / "cache" if prepares else None  # one that is built in this run
    traps = [trap_of(folder, number, blow) for number, blow in enumerate(blows)]
    variables = environment(ground.variables(cache), [*traps, *skips])
    command = ground.command(run, case.strategy, case.world_size, *overrides)
    log = folder / "launcher.log"
    struck, problems = 0, []
    with launched(command, ground.folder, variables, log) as launcher:
        for blow, trap in zip(blows, traps, strict=True):
            if not wait_for(lambda trap=trap: trap.holds is not None or launcher.poll() is not None):  # type: ignore[misc]
                problems.append(f"{blow}: neither reached nor ended in {LIMIT_S:.0f} s")
            if trap.holds is None:
                break
            struck += 1
            _strike(blow, trap, launcher, run, log)
        code = ending(launcher)
    if (allowed := _allowed(blows[:struck])) and code not in allowed:
        problems.append(f"exit code {code}, must be {' or '.join(map(str, allowed))}")
    if not wait_for(lambda: not processes_of(run), GONE_S):
        problems.append(f"left behind: {processes_of(run)}")
    return Ended(struck, code, tuple(problems))


def trap_of(folder: Path, number: int, blow: Blow) -> Trap:
    """A trap at the blow's instant, with its files below ``folder``."""
    where = folder / "traps" / f"{time.time_ns()}-{number}"
    where.mkdir(parents=True)
    at = blow.moment
    reached, release = str(where / "reached"), str(where / "release")
    return Trap(at.module, at.function, at.having, blow.call, blow.waits_in, reached, release)


def _strike(blow: Blow, trap: Trap, launcher: subprocess.Popen[bytes], run: Path, log: Path) -> None:
    """What the blow does, while a process stands in the trap; the trap lets go afterwards."""
    ranks = processes_of(run)
    match blow.kind:
        case Kind.KILL_ONE:
            os.kill(ranks[blow.rank], signal.SIGKILL)
        case Kind.KILL_ALL:
            for pid in ranks.values():
                os.kill(pid, signal.SIGKILL)
        case Kind.KILL_LAUNCHER:
            launcher.send_signal(signal.SIGKILL)
        case Kind.STOP_ONE:
            os.kill(ranks[blow.rank], signal.SIGSTOP)
        case Kind.TERM | Kind.USR2:
            said = log.stat().st_size
            launcher.send_signal(ASKED[blow.kind])
            # The launcher has passed it on by then, so the request is there when the process goes on.
            wait_for(lambda: log.stat().st_size > said or launcher.poll() is not None, 10)
    trap.let_go()


def _allowed(blows: Sequence[Blow]) -> tuple[int, ...]:
    """Exit codes that an attempt may have after its last blow."""
    if not blows:
        return (EXIT_DONE,)
    last = blows[-1]
    if last.kind is Kind.KILL_LAUNCHER:
        return (-signal.SIGKILL,)
    if last.kind.asks:
        return (EXIT_STOPPED, EXIT_DONE) if last.moment.ends else (EXIT_STOPPED,)
    return (EXIT_FAILED,)


def ending(launcher: subprocess.Popen[bytes]) -> int:
    """Its exit code; NOT_ENDED where it had to be killed after `LIMIT_S` seconds, which no blow allows."""
    with suppress(subprocess.TimeoutExpired):
        return launcher.wait(LIMIT_S)
    launcher.kill()
    launcher.wait()
    return NOT_ENDED


def wait_for(done: Callable[[], bool], seconds: float = LIMIT_S) -> bool:
    """Whether it was done within so many seconds."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(TURN_S)
    return True


def processes_of(run: Path) -> dict[int, int]:
    """Ranks of a run that live, with their process numbers: found by the run's folder in their command line."""
    attempts = f"{run}/attempts/"
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError, ValueError):
            given = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            stat = process_stat(int(entry.name))
            if any(word.startswith(attempts) for word in given) and stat is not None and stat.alive:
                found[int(given[given.index("--rank") + 1])] = int(entry.name)
    return found
