"""What a person reads of a run's standing: a row of a table on a terminal, a line elsewhere."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from biodist.cli.standings import Seen, Survey
from launch.progress import duration
from launch.standing import RunStanding

_STYLES = {"finished": "green", "failed": "red", "killed": "red", "lost": "red", "running": "bold", "waiting": "yellow"}
_REASON_LETTERS = 100


def rendered(found: Survey) -> RenderableType:
    """The table, and under it why Slurm did not answer, if it did not."""
    table = Table()
    for name in ("run", "state", "step", "left", "loss", "best", "checkpoint", "attempts", "where"):
        table.add_column(name, overflow="fold", justify="right" if name in ("step", "loss") else "left")
    for seen in found.runs:
        if (standing := seen.standing) is None:
            table.add_row(Text(seen.name), Text("unreadable", style="red"), Text(_short(seen.problem)))
            continue
        table.add_row(
            Text(seen.name),
            Text(_state(standing), style=_STYLES.get(standing.state, "")),
            Text(_steps(standing)),
            Text("\n".join(_left(standing))),
            Text(_loss(standing)),
            Text(_best(standing)),
            Text(_checkpoint(standing)),
            Text(_attempts(standing)),
            Text(_where(standing)),
        )
    below = [f"{seen.name}: {_go_on(seen.standing)}" for seen in found.runs if seen.standing and seen.standing.resume]
    below += [str(found.no_slurm)] if found.no_slurm else []
    return Group(table, *map(Text, below)) if below else table


def line(seen: Seen) -> str:
    """The same in one line of plain text."""
    if (standing := seen.standing) is None:
        return f"{seen.name}  unreadable: {seen.problem}"
    loss, best, checkpoint = _loss(standing), _best(standing), _checkpoint(standing)
    parts = [
        seen.name,
        _state(standing),
        f"step {_steps(standing)}" if standing.total_steps else "",
        *_left(standing),
        f"loss {loss}" if loss else "",
        f"best {best}" if best else "",
        f"checkpoint {checkpoint}" if checkpoint else "",
        _attempts(standing),
        _where(standing),
        _go_on(standing),
    ]
    return "  ".join(part for part in parts if part)


def _state(standing: RunStanding) -> str:
    doing = standing.phase if standing.state == "running" and standing.phase not in ("", "training", "finished") else ""
    notes = ", ".join(note for note in (doing, _short(standing.reason)) if note)
    return standing.state + (f" ({notes})" if notes else "")


def _steps(standing: RunStanding) -> str:
    return f"{standing.step:,}/{standing.total_steps:,}" if standing.total_steps else ""


def _left(standing: RunStanding) -> list[str]:
    """Of the run, of its job's time limit, and until a waiting one starts."""
    parts = []
    if standing.under_way and standing.seconds_left is not None and standing.step < (standing.total_steps or 0):
        parts.append(f"{duration(standing.seconds_left)} left")
    if standing.under_way and standing.job_seconds_left is not None:
        parts.append(f"limit in {duration(standing.job_seconds_left)}")
    if standing.starts is not None:
        parts.append(time.strftime("starts %Y-%m-%d %H:%M", time.localtime(standing.starts)))
    return parts


def _loss(standing: RunStanding) -> str:
    return "" if standing.loss is None else f"{standing.loss:.4f}"


def _best(standing: RunStanding) -> str:
    if standing.best_score is None:
        return ""
    return f"{standing.best_metric} {standing.best_score:.4f} at {standing.best_step:,}"


def _checkpoint(standing: RunStanding) -> str:
    saved = "" if standing.checkpoint_step is None else f"{standing.checkpoint_step:,}"
    coming = standing.next_checkpoint_step
    return saved + (f"{', ' if saved else ''}next {coming:,}" if standing.under_way and coming else "")


def _attempts(standing: RunStanding) -> str:
    parts = [_count(standing.attempts, "attempt")]
    if standing.preemptions:
        parts.append(_count(standing.preemptions, "preemption"))
    if standing.failures:
        parts.append(_count(standing.failures, "failure"))
    if standing.shortages:
        parts.append(f"{standing.shortages} out of memory (micro-batch now {standing.micro_batch})")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _where(standing: RunStanding) -> str:
    nodes = f" on {standing.nodes}" if standing.nodes else ""
    if standing.job is not None:
        return f"job {standing.job}{nodes}"
    if not standing.under_way:
        return standing.host or ""
    return f"process {standing.pid} on {standing.host}"


def _go_on(standing: RunStanding) -> str:
    return f"go on with: {standing.resume}" if standing.resume else ""


def _short(text: str) -> str:
    first = text.splitlines()[0] if text else ""
    return first if len(first) <= _REASON_LETTERS else first[: _REASON_LETTERS - 1] + "…"
