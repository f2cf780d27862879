"""Runs an attempt on this machine: one process a rank, watched until all have ended.

Not torchrun: its workers outlive it when it is killed, it turns exit code 75 into 1, and it does not survive the
signals that clusters send. Here a worker dies with its launcher, exit codes pass through, a signal reaches every rank
once, and the first rank that failed is named.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from biodist.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_STOPPED, BiodistError
from biodist.plan.plan import Plan
from biodist.run.folder import AttemptFolder
from launch.attempt_record import begin_record, end_record
from launch.environment import worker_environment
from launch.ranks import Command, Ranks
from launch.rendezvous import rendezvous
from launch.requests import StopRequests
from launch.verdict import FirstFailure
from launch.watching import Patience, Watching


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
    exit_code, failure, asked = EXIT_FAILED, None, None  # what stays on record if we do not get to the end
    try:
        with StopRequests() as requests, rendezvous(attempt) as address:
            command = worker or (lambda rank: worker_command(attempt, plan, rank, address, lease_token))
            commands = [Command(rank, command(rank), attempt.log(rank)) for rank in range(plan.machine.world_size)]
            with Ranks(commands, worker_environment(os.environ, plan.machine)) as ranks:
                watching = Watching(attempt, ranks, requests, watch, say, patience)
                exit_code, failure = watching.follow()
                asked = watching.asked
    finally:
        keep_record(attempt, exit_code, failure, say, asked)
    return Outcome(exit_code, failure, time.monotonic() - clock)


def worker_command(
    attempt: AttemptFolder, plan: Plan, rank: int, address: str, lease_token: str, local_rank: int | None = None
) -> list[str]:
    """The command line of one rank; `local_rank` counts on its node (as `rank` when there is one node)."""
    return [
        *(sys.executable, "-P", "-m", "biodist.training.worker"),  # -P: not a launch.py of the user's folder
        *("--attempt", str(attempt.root.absolute())),
        *("--rank", str(rank)),
        *("--local-rank", str(rank if local_rank is None else local_rank)),
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


def keep_record(
    attempt: AttemptFolder,
    exit_code: int,
    failure: FirstFailure | None,
    say: Callable[[str], None],
    asked: str | None,
) -> None:
    """Brings `attempt.json` to its end; a disk that refuses is said, and changes nothing else."""
    how: dict[int, Literal["finished", "stopped"]] = {
        EXIT_DONE: "finished",
        EXIT_STOPPED: "stopped",
        EXIT_INTERRUPTED: "stopped",
    }
    try:
        end_record(attempt, how.get(exit_code, "failed"), failure.cause if failure else None, asked)
    except (OSError, BiodistError) as error:
        # The outcome stands, whatever the disk says.
        say(f"{attempt.record}: could not be brought up to date: {error}")


def _to_standard_error(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
