"""What can go wrong, and the exit code each failure ends with.

::

    BiodistError
    ├── UserError      2   the user's input is wrong; lists every problem at once
    ├── RunFailed      3   the run failed: first failing rank, its last lines, the log's path
    ├── MachineCannot  4   this machine or cluster cannot do it
    ├── SomeFailed     5   some of many failed
    └── Stopped       75   stopped early, saved, resumable
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EXIT_DONE = 0
EXIT_USER = 2
EXIT_FAILED = 3
EXIT_MACHINE = 4
EXIT_SOME = 5
EXIT_NO_ROOM = 73  # of a rank alone: its disk is full, and so its reason is nowhere
EXIT_STOPPED = 75
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong: where it is, which rule it breaks, and the next step.

    ``where`` is a place a person can go to (``recipe.yaml:12 train.epochs``, ``train.tsv:40``); of a corpus
    only file, line and column are ever named, never its text.
    """

    where: str
    what: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.do})" if self.do else "")


class BiodistError(Exception):
    """Base of everything that the command line turns into a message and an exit code."""

    exit_code = 1


class UserError(BiodistError):
    """The user's input is wrong. Carries every problem found, not only the first."""

    exit_code = EXIT_USER

    def __init__(self, problems: Problem | Iterable[Problem]):
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RunFailed(BiodistError):
    """A run began and failed, or no checkpoint of it verifies."""

    exit_code = EXIT_FAILED


class MachineCannot(BiodistError):
    """This machine or cluster cannot do what was asked: no such GPUs, no room, another writer."""

    exit_code = EXIT_MACHINE


class SomeFailed(BiodistError):
    """Some of many failed: trials of a sweep, jobs of an array, files of a verification."""

    exit_code = EXIT_SOME


class Stopped(BiodistError):
    """Stopped early by a signal, saved, and resumable."""

    exit_code = EXIT_STOPPED
