"""``biodist status``: how runs stand, by their folders."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from biodist.cli.say import err, out
from biodist.errors import RunFailed, SomeFailed

if TYPE_CHECKING:
    from biodist.cli.standings import Survey

_REFRESH_S = 5.0
_RUNS = Path("runs")


def status(
    runs: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="[RUN]...", help="Folders of runs or of seeds; all under ./runs when none is given."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds until all have ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a run and line.")] = False,
    every: Annotated[float, typer.Option(min=1.0, help="Seconds between two looks of --watch.")] = _REFRESH_S,
) -> None:
    """Says how runs stand: state, steps, time left, attempts, preemptions, where. Works without Slurm for runs here.

    For a job that Slurm has forgotten, the run's files answer. Exit 4 when a run's job must be asked for and Slurm
    does not answer (what the files say is shown all the same); 5 when some runs cannot be read, 3 when none can.
    """
    from biodist.cli.standings import survey

    roots = _roots(runs or [])
    if not roots:
        err.print(f"no runs under {_RUNS}/: name their folders, or begin one with `biodist train`")
        return
    found = survey(roots)
    if watch:
        found = _watched(roots, found, as_json, every)
    elif as_json:
        _print_json(found)
    else:
        _print(found)
    _refuse_unread(found)


def _roots(named: list[Path]) -> list[Path]:
    from biodist.cli.named_run import named_runs
    from biodist.errors import Problem, UserError

    roots: list[Path] = []
    problems: list[Problem] = []
    for path in named or (sorted(_RUNS.iterdir()) if _RUNS.is_dir() else []):
        try:
            roots += named_runs(path)
        except UserError as error:
            problems += error.problems if named else ()
    if problems:
        raise UserError(problems)
    return list(dict.fromkeys(roots))


def _watched(roots: list[Path], found: Survey, as_json: bool, every_s: float) -> Survey:
    """Shows what changes until nothing is under way. Ctrl-C ends it, and nothing else."""
    from rich.live import Live

    from biodist.cli.standings import survey
    from biodist.cli.status_table import rendered

    if out.is_terminal and not as_json:
        with Live(rendered(found), console=out, auto_refresh=False) as live:
            while _goes_on(found):
                time.sleep(every_s)
                found = survey(roots)
                live.update(rendered(found), refresh=True)
        return found
    shown = _changed(found, {}, as_json)
    while _goes_on(found):
        time.sleep(every_s)
        found = survey(roots)
        shown = _changed(found, shown, as_json)
    return found


def _goes_on(found: Survey) -> bool:
    """A controller that does not answer may do so in a while; where there is no Slurm, waiting is of no use."""
    from launch.slurm.scheduler import Scheduler

    return found.under_way and (found.no_slurm is None or Scheduler().available())


def _changed(found: Survey, shown: dict[str, str], as_json: bool) -> dict[str, str]:
    """Prints the lines that are new since `shown`, and gives all."""
    from biodist.cli.status_table import line

    lines = {
        seen.name: seen.standing.model_dump_json() if as_json and seen.standing is not None else line(seen)
        for seen in found.runs
        if not (as_json and seen.standing is None)
    }
    for name, text in lines.items():
        if shown.get(name) != text:
            out.print(text)
    out.file.flush()
    return lines


def _print_json(found: Survey) -> None:
    for seen in found.runs:
        if seen.standing is not None:
            out.print(seen.standing.model_dump_json())


def _print(found: Survey) -> None:
    from biodist.cli.status_table import line, rendered

    if out.is_terminal:
        out.print(rendered(found), crop=False, soft_wrap=False)
    else:
        for seen in found.runs:
            out.print(line(seen))


def _refuse_unread(found: Survey) -> None:
    unread = [f"{seen.name}: {seen.problem}" for seen in found.runs if seen.standing is None]
    if unread:
        kind = RunFailed if len(unread) == len(found.runs) else SomeFailed
        raise kind(f"{len(unread)} of {len(found.runs)} runs cannot be read: " + "; ".join(unread))
    if found.no_slurm is not None:
        raise found.no_slurm
