"""``biodist logs``: what the ranks of a run say, and its job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from biodist.cli.say import err, out
from biodist.errors import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, Problem, UserError

if TYPE_CHECKING:
    from biodist.run.folder import RunFolder
    from launch.log_lines import RunLogs
    from launch.standing import RunStanding

_LOOK_EVERY_S = 0.5
_ASK_EVERY_S = 5.0  # how the run stands: a question to Slurm, where a job runs it
_LINES_BEFORE = 10
_EXIT_CODES = {"finished": EXIT_DONE, "stopped": EXIT_STOPPED, "cancelled": EXIT_STOPPED, "new": EXIT_STOPPED}


def logs(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    rank: Annotated[Optional[int], typer.Option(min=0, help="One rank alone, without prefixes.")] = None,  # noqa: UP045
    attempt: Annotated[Optional[int], typer.Option(min=1, help="One attempt; the newest when not given.")] = None,  # noqa: UP045
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends, over attempts.")] = False,
    lines: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help=f"Last lines of each log; all when not given, {_LINES_BEFORE} with --follow."),
    ] = None,
) -> None:
    """Shows what the ranks said, each line behind its rank, and behind [job] what launcher, srun and Slurm said.

    --follow goes over to the next attempt when a job comes back. It ends when the run ends, and says how: exit 0 when
    it finished, 75 when it was stopped or cancelled, 3 when it failed.
    """
    from biodist.cli.named_run import named_run
    from launch.log_lines import RunLogs

    folder = named_run(run)
    _refuse_unknown(folder, run, rank, attempt)
    if follow and attempt is not None:
        raise UserError(Problem("--follow", "goes over attempts, but --attempt names one", "leave one of them out"))
    lines = _LINES_BEFORE if lines is None and follow else lines
    shown = RunLogs(folder, rank, attempt, lines, _say_opened if follow else lambda number: None)
    try:
        if follow:
            raise typer.Exit(_follow(shown, run, rank is None))
        if not folder.attempts():
            err.print(f"{run} has no attempt yet; `biodist status {run}` says why")
        _show(shown, rank is None)
        _show_rest(shown, rank is None)
    finally:
        shown.close()


def _refuse_unknown(folder: RunFolder, run: Path, rank: int | None, attempt: int | None) -> None:
    from biodist.plan.plan import read_plan

    attempts = folder.attempts()
    numbers = [found.number for found in attempts]
    if attempt is not None and attempt not in numbers:
        there = f"it has attempts 1 to {numbers[-1]}" if numbers else "it has none yet"
        raise UserError(Problem("--attempt", f"{attempt} is no attempt of {run}", there))
    chosen = [found for found in attempts if attempt in (None, found.number)][-1:]
    for found in chosen if rank is not None and attempts else ():
        ranks = read_plan(found.plan).machine.world_size
        if rank is not None and rank >= ranks:
            raise UserError(Problem("--rank", f"{rank} is no rank of attempt {found.number}", f"0 to {ranks - 1} are"))


def _follow(shown: RunLogs, run: Path, prefixed: bool) -> int:
    """Shows lines as they come until the run has ended by two looks: a job on its way back is nowhere for a moment."""
    from launch.slurm.scheduler import Scheduler

    ended = False
    while True:
        until = time.monotonic() + _ASK_EVERY_S
        standing, slurm_fails = _standing(run)
        if slurm_fails is not None and standing.state == "unknown" and not Scheduler().available():
            _show(shown, prefixed)
            raise slurm_fails
        if not standing.under_way and (ended or standing.state == "finished"):
            _show(shown, prefixed)
            _show_rest(shown, prefixed)
            return _say_ended(run, standing)
        ended = not standing.under_way
        while time.monotonic() < until:
            _show(shown, prefixed)
            time.sleep(_LOOK_EVERY_S)


def _standing(run: Path) -> tuple[RunStanding, Exception | None]:
    from biodist.cli.standings import survey
    from biodist.errors import RunFailed

    found = survey([run])
    standing = found.runs[0].standing
    if standing is None:
        raise RunFailed(f"{run}: {found.runs[0].problem}")
    return standing, found.no_slurm


def _say_opened(number: int) -> None:
    out.file.flush()  # the lines before it stand in another stream
    err.print(f"-- attempt {number}")


def _say_ended(run: Path, standing: RunStanding) -> int:
    why = f" ({standing.reason})" if standing.reason else ""
    steps = f" at step {standing.step} of {standing.total_steps}" if standing.total_steps else ""
    err.print(f"-- {run}: {standing.state}{why}{steps}")
    return _EXIT_CODES.get(standing.state, EXIT_FAILED)


def _show(shown: RunLogs, prefixed: bool) -> None:
    for line in shown.new():
        out.file.write(f"[{line.source}] {line.text}\n" if prefixed else f"{line.text}\n")
    out.file.flush()


def _show_rest(shown: RunLogs, prefixed: bool) -> None:
    for line in shown.rest():
        out.file.write(f"[{line.source}] {line.text}\n" if prefixed else f"{line.text}\n")
    out.file.flush()
