"""Runs an attempt on this machine: one process a rank, watched until all have ended.

Not torchrun: its workers outlive it when it is killed, it turns exit code 75 into 1, and it does not survive the
signals that clusters send. Here a worker dies with its launcher, exit codes pass through, a signal reaches every rank
once, and the first rank that failed is named.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from biodist.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_STOPPED, RunFailed
from biodist.plan.plan import Plan
from biodist.run.folder import AttemptFolder
from launch.attempt_record import begin_record, end_record
from launch.environment import worker_environment
from launch.ranks import Command, Ranks
from launch.rendezvous import rendezvous
from launch.requests import StopRequests
from launch.verdict import FirstFailure, first_failure, written_failures

_TURN_S = 0.1


@dataclass(frozen=True)
class Patience:
    """How long the launcher waits once a rank has failed."""

    others_s: float = 5.0  # for the other ranks to end by themselves and say why
    stacks_s: float = 2.0  # for those that have not to write their stacks


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: 0 done, 75 stopped and saved, 130 ended at once, 2, 3 or 4 failed."""

    exit_code: int
    failure: FirstFailure | None
    duration_s: float


def run_attempt(
    attempt: AttemptFolder,
    plan: Plan,
    lease_token: str,
    *,
    worker: Callable[[int], list[str]] | None = None,
    watch: Callable[[], None] | None = None,
    say: Callable[[str], None] | None = None,
    patience: Patience = Patience(),
) -> Outcome:
    """Starts every rank of `plan` and returns when all have ended; keeps `attempt.json`.

    `worker` gives the command line of a rank (biodist's own worker when absent); `watch` is called several times a
    second and once at the end; `say` takes a line for the user (standard error when absent). The first SIGINT,
    SIGTERM, SIGUSR1 or SIGUSR2 asks the ranks to stop and save; a second SIGINT ends them at once.

    Call it from the main thread, holding the run's lease. Raises MachineCannot when a process cannot be started.
    """
    clock = time.monotonic()
    say = say or _to_standard_error
    begin_record(attempt, plan)
    exit_code, failure = EXIT_FAILED, None  # what stays on record if we do not get to the end
    try:
        with StopRequests() as requests, rendezvous(attempt) as address:
            command = worker or (lambda rank: worker_command(attempt, plan, rank, address, lease_token))
            commands = [Command(rank, command(rank), attempt.log(rank)) for rank in range(plan.machine.world_size)]
            with Ranks(commands, worker_environment(os.environ, plan.machine)) as ranks:
                exit_code, failure = _Watching(attempt, ranks, requests, watch, say, patience).follow()
    finally:
        _keep(attempt, exit_code, failure, say)
    return Outcome(exit_code, failure, time.monotonic() - clock)


def worker_command(attempt: AttemptFolder, plan: Plan, rank: int, address: str, lease_token: str) -> list[str]:
    """The command line of one rank of this machine."""
    return [
        *(sys.executable, "-m", "biodist.training.worker"),
        *("--attempt", str(attempt.root.absolute())),
        *("--rank", str(rank)),
        *("--local-rank", str(rank)),
        *("--world-size", str(plan.machine.world_size)),
        *("--rendezvous", address),
        *("--lease", lease_token),
        *("--parent", str(os.getpid())),
    ]


def first_failure_report(outcome: Outcome) -> str:
    """What to tell the user of a failed attempt: the first failing rank, its last lines, its log. Else nothing."""
    failure = outcome.failure
    if failure is None:
        return ""
    step = "" if failure.cause.step is None else f" at step {failure.cause.step}"
    lines = [f"rank {failure.rank} failed first{step}: {failure.message}"]
    if failure.tail:
        lines += ["its last lines:", *(f"  | {line}" for line in failure.tail)]
    return "\n".join([*lines, f"its log: {failure.log}"])


class _EndedAtOnce(Exception):
    """A second SIGINT."""


class _Watching:
    """Follows the ranks of one attempt to their end."""

    def __init__(
        self,
        attempt: AttemptFolder,
        ranks: Ranks,
        requests: StopRequests,
        watch: Callable[[], None] | None,
        say: Callable[[str], None],
        patience: Patience,
    ):
        self._attempt = attempt
        self._ranks = ranks
        self._world_size = len(ranks.running)
        self._requests = requests
        self._watch = watch or (lambda: None)
        self._say = say
        self._patience = patience
        self._stopping = False
        self._interrupts = 0

    def follow(self) -> tuple[int, FirstFailure | None]:
        """The attempt's exit code, and the first failure if one failed."""
        try:
            self._turn_until(lambda: not self._ranks.running or self._failed())
            failure = self._settle() if self._failed() else self._verdict([])
        except _EndedAtOnce:
            return EXIT_INTERRUPTED, None
        if failure is not None:
            return failure.exit_code, failure
        return self._ranks.endings[0].status, None

    def _failed(self) -> bool:
        badly = any(ending.status not in (EXIT_DONE, EXIT_STOPPED) for ending in self._ranks.endings)
        return badly or any(self._attempt.failure(rank).exists() for rank in range(self._world_size))

    def _settle(self) -> FirstFailure | None:
        """After a failure: hears the others out, asks those that go on for their stacks, and judges."""
        stopped = self._ranks.stopped()
        if not any(failure.kind == "hang" for failure in written_failures(self._attempt, self._world_size)):
            self._turn_until(lambda: not self._ranks.running, self._patience.others_s)
        # Nothing that ends from here on is evidence: it was us.
        endings_known = len(self._ranks.endings)
        if self._ranks.running:
            self._ranks.signal(signal.SIGQUIT)
            self._turn_until(lambda: not self._ranks.running, self._patience.stacks_s)
        return self._verdict(stopped, endings_known)

    def _verdict(self, stopped: list[int], endings_known: int | None = None) -> FirstFailure | None:
        written = written_failures(self._attempt, self._world_size)
        return first_failure(self._attempt, written, self._ranks.endings[:endings_known], stopped, time.time())

    def _turn_until(self, done: Callable[[], bool], seconds: float = float("inf")) -> None:
        until = time.monotonic() + seconds
        while True:
            self._ranks.look()
            self._watch()
            self._answer()
            if done() or time.monotonic() > until:
                return
            time.sleep(_TURN_S)

    def _answer(self) -> None:
        for number in self._requests.take():
            if number == signal.SIGINT:
                self._interrupts += 1
            if self._interrupts > 1:
                self._say("second SIGINT: ended at once, nothing saved since the last checkpoint")
                raise _EndedAtOnce
            if self._stopping:
                self._say(f"{number.name}: already stopping; Ctrl-C again ends at once")
                continue
            self._stopping = True
            self._say(f"{number.name}: stopping after this step, saving first; Ctrl-C again ends at once")
            self._ranks.signal(signal.SIGUSR1)


def _keep(attempt: AttemptFolder, exit_code: int, failure: FirstFailure | None, say: Callable[[str], None]) -> None:
    how: dict[int, Literal["finished", "stopped"]] = {
        EXIT_DONE: "finished",
        EXIT_STOPPED: "stopped",
        EXIT_INTERRUPTED: "stopped",
    }
    try:
        end_record(attempt, how.get(exit_code, "failed"), failure.cause if failure else None)
    except (OSError, RunFailed) as error:
        # The outcome stands, whatever the disk says.
        say(f"{attempt.record}: could not be brought up to date: {error}")


def _to_standard_error(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
