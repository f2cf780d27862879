"""Which rank failed first, and why: the cause, not the ranks that it took along."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from biodist.errors import EXIT_DONE, EXIT_FAILED, EXIT_MACHINE, EXIT_NO_ROOM, EXIT_STOPPED, EXIT_USER, RunFailed
from biodist.run.folder import AttemptFolder
from biodist.run.records import Ending, Failure

_TAIL_LINES = 20
_TAIL_BYTES = 1 << 16
_OUT_OF_MEMORY = "killed by the kernel, which had no memory left (the limit of its control group, or the machine's)"


@dataclass(frozen=True)
class FirstFailure:
    """The rank that failed first, why, and the last lines of its log."""

    cause: Failure
    log: Path
    tail: tuple[str, ...]

    @property
    def rank(self) -> int:
        return self.cause.rank

    @property
    def message(self) -> str:
        return self.cause.message

    @property
    def exit_code(self) -> int:
        """What the launcher ends with: 2 and 4 are the worker's word on the input and the machine; else 3."""
        code = self.cause.exit_code
        return code if code in (EXIT_USER, EXIT_MACHINE) else EXIT_FAILED


def failure_written(attempt: AttemptFolder) -> bool:
    """Whether some rank says that it failed."""
    return any(True for _ in attempt.failures())


def written_failures(attempt: AttemptFolder) -> list[Failure]:
    """What the ranks themselves say went wrong, by rank."""
    return [_written_failure(attempt, rank) for rank in sorted(attempt.failures())]


def _written_failure(attempt: AttemptFolder, rank: int) -> Failure:
    path = attempt.failure(rank)
    try:
        return Failure.load(path)
    except (OSError, RunFailed):
        message = f"failed, and left a reason that cannot be read ({path.name}); its log may say more"
        return Failure(rank=rank, time=path.stat().st_mtime, kind="error", message=message)


def first_failure(
    attempt: AttemptFolder, written: Sequence[Failure], endings: Sequence[Ending], stopped: Sequence[int], now: float
) -> FirstFailure | None:
    """The cause, or None when no rank failed.

    `endings` are those before the launcher itself killed anything; `stopped` the ranks that stood still when the
    failure was noticed. The earliest evidence wins, but a rank that lost its connection, or hung, is taken at its
    word only when no other is to blame.
    """
    evidence = [*written, *_unwritten(written, endings)]
    if not evidence:
        return _disagreement(attempt, endings)
    cause = min(evidence, key=_order)
    if cause.kind in ("hang", "connection"):
        still = [failure for failure in evidence if failure.kind == "paused"]
        cause = next(iter([*still, *(standing_still(rank, now) for rank in stopped)]), cause)
    return _named(attempt, cause)


def _order(failure: Failure) -> tuple[int, float, int]:
    if failure.kind == "connection":
        plausibility = 2
    elif failure.exit_code == -signal.SIGABRT:  # how libraries end when a peer is gone
        plausibility = 1
    else:
        plausibility = 0
    return plausibility, failure.time, failure.rank


def _unwritten(written: Iterable[Failure], endings: Iterable[Ending]) -> list[Failure]:
    """Failures of ranks that could not write one themselves."""
    wrote = {failure.rank for failure in written}
    return [
        failure_of(ending)
        for ending in endings
        if ending.rank not in wrote and ending.status not in (EXIT_DONE, EXIT_STOPPED)
    ]


def failure_of(ending: Ending) -> Failure:
    """What can be said of a rank that left no word."""
    if ending.status >= 0:
        message = f"ended with exit code {ending.status} and left no reason; its log may say more"
        if ending.status == EXIT_NO_ROOM:
            message = "No space left on device: the disk (or quota) of the run's folder is full; it could write no more"
        return Failure(rank=ending.rank, time=ending.time, kind="error", message=message, exit_code=ending.status)
    number = -ending.status
    if ending.out_of_memory:
        return Failure(
            rank=ending.rank, time=ending.time, kind="memory", message=_OUT_OF_MEMORY, exit_code=ending.status
        )
    return Failure(
        rank=ending.rank,
        time=ending.time,
        kind="killed" if number == signal.SIGKILL else "signal",
        message=_of_signal(number),
        exit_code=ending.status,
    )


def _of_signal(number: int) -> str:
    name = signal.Signals(number).name if number in signal.Signals.__members__.values() else f"signal {number}"
    if number == signal.SIGKILL:
        return (
            f"killed by {name}, which did not come from biodist: most likely the kernel was out of memory "
            "(see `dmesg`, or the job's memory limit); a smaller train.micro_batch needs less"
        )
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return f"crashed with {name} in native code; its log holds the Python stack"
    return f"ended by {name}, which did not come from biodist"


def standing_still(rank: int, now: float) -> Failure:
    """Of a rank that does not move until somebody continues it."""
    message = "stands still: its process was stopped (SIGSTOP, Ctrl-Z or a debugger), and the others waited for it"
    return Failure(rank=rank, time=now, kind="paused", message=message)


def _disagreement(attempt: AttemptFolder, endings: Sequence[Ending]) -> FirstFailure | None:
    """All ranks must end the same way: all done, or all stopped."""
    if len({ending.status for ending in endings}) < 2:
        return None
    odd = min((ending for ending in endings if ending.status == EXIT_STOPPED), key=lambda ending: ending.rank)
    codes = ", ".join(f"rank {ending.rank}: {ending.status}" for ending in sorted(endings, key=lambda e: e.rank))
    message = f"stopped while other ranks finished (exit codes {codes}); run the same command again"
    return _named(attempt, Failure(rank=odd.rank, time=odd.time, kind="error", message=message, exit_code=EXIT_STOPPED))


def _named(attempt: AttemptFolder, cause: Failure) -> FirstFailure:
    log = attempt.log(cause.rank)
    return FirstFailure(cause, log, last_lines(log))


def last_lines(log: Path, count: int = _TAIL_LINES) -> tuple[str, ...]:
    """The end of a log; nothing when it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read()
    except OSError:
        return ()
    return tuple(text.decode(errors="replace").splitlines()[-count:])
