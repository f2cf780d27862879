"""What a person reads of a rehearsal's verdict: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch.progress import duration
from launch.rehearsal.verdict import Verdict


def print_verdict(console: Console, verdict: Verdict) -> None:
    """Prints it, with the verdict itself last."""
    rows = [*((check.name, "ok" if check.good else "BAD", check.found) for check in verdict.checks), *_figures(verdict)]
    if console.is_terminal:
        table = Table(title=_title(verdict), title_justify="left", show_header=False)
        for justify in ("left", "left", "left"):
            table.add_column(justify=justify, overflow="fold")
        for number, (name, state, found) in enumerate(rows, start=1):
            style = {"ok": "green", "BAD": "bold red"}.get(state, "")
            table.add_row(Text(name), Text(state, style=style), Text(found), end_section=number == len(verdict.checks))
        console.print(table, soft_wrap=False)
    else:
        console.print(_title(verdict))
        for row in rows:
            console.print("  ".join(part for part in (f"{row[0]:<12}", row[1], row[2]) if part.strip()))
    for notice in verdict.notices:
        console.print(f"note: {notice}")
    console.print(_last_line(verdict))


def _title(verdict: Verdict) -> str:
    where = f"{verdict.world_size} process{'es' if verdict.world_size > 1 else ''}"
    where += f" on {verdict.nodes} nodes" if verdict.nodes > 1 else ""
    return f"rehearsal of {verdict.run}: {verdict.steps} steps, {where} ({verdict.device}, {verdict.strategy})"


def _figures(verdict: Verdict) -> Iterator[tuple[str, str, str]]:
    seconds, far = verdict.seconds, verdict.projection
    if seconds.start_up is not None:
        yield "start-up", "", f"{seconds.start_up:.1f} s"
    if seconds.step_median is not None and seconds.step_p95 is not None:
        yield "a step", "", f"{seconds.step_median:.3g} s (95th percentile {seconds.step_p95:.3g} s)"
    if seconds.longest_save is not None and seconds.save_stall is not None:
        yield "a save", "", f"{seconds.longest_save:.3g} s, of which the steps wait {seconds.save_stall:.3g} s"
    if seconds.evaluation is not None:
        yield "a scoring", "", f"{seconds.evaluation:.3g} s, of at most {verdict.scored_samples} samples"
    if verdict.stop_s is not None and verdict.signal_lead_s is not None:
        warned = f"{verdict.signal_lead_s} s before the time limit"
        warned += "" if verdict.grace_s is None else f", {verdict.grace_s} s when preempted"
        yield "to stop", "", f"{verdict.stop_s:.3g} s: a step, then a save; warned {warned}"
    estimate = (
        f"about {duration(far.seconds)} for {far.steps:,} steps, {far.saves:,} saves, {far.evaluations:,} scorings"
    )
    if far.time_limit_min is not None:
        limit = f"of at most {far.time_limit_min:,} min"
        jobs = "no job ever ends it" if far.jobs is None else f"{far.jobs:,} job{'s' if far.jobs > 1 else ''}"
        estimate += f"; {jobs} {limit}"
    yield "whole run", "", estimate


def _last_line(verdict: Verdict) -> str:
    if verdict.good:
        return "verdict: good. Killed and resumed, it ends with the same bits."
    bad = ", ".join(check.name for check in verdict.checks if not check.good)
    return f"verdict: BAD ({bad}). Do not begin the run: what a kill leaves behind cannot be trusted here."
