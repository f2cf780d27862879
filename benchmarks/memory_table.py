"""The table of `memory.py`: planned and measured growth of each case, and whether they are within 10 %."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from material import commit_label
from memory_rows import Case, Row

GOAL = 0.1


def markdown(rows: Sequence[Row], command: str) -> str:
    """The figures of cases of one commit."""
    if not rows:
        return "No case is measured: nothing to compare.\n"
    return "\n".join([*_heading(rows, command), "", *_figures(rows)]) + "\n"


def _heading(rows: Sequence[Row], command: str) -> Iterator[str]:
    apart = [abs(row.ratio - 1) for row in rows]
    met = sum(distance <= GOAL for distance in apart)
    yield (
        f"Planned growth within {GOAL:.0%} of the measured one in {met} of {len(rows)} cases, at most "
        f"{max(apart):.1%} apart; allocator: {rows[0].malloc}; {commit_label(rows[0].commit)}."
    )
    yield ""
    yield f"    {command}"


def _figures(rows: Sequence[Row]) -> Iterator[str]:
    yield "| model | tokens a window | strategy | micro-batches × tokens | planned, MB | grew, MB | planned / grew | |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        case = row.case
        yield (
            f"| {case.model} | {_lengths(case)} | {_way(case)} | {row.micro_batches} × {row.tokens:,} "
            f"| {row.planned.growth / 1e6:,.0f} | {row.growth / 1e6:,.0f} | {row.ratio:.3f} "
            f"| {'met' if abs(row.ratio - 1) <= GOAL else 'not met'} |"
        )


def _lengths(case: Case) -> str:
    return f"{case.longest}" if case.shortest == case.longest else f"{case.shortest} to {case.longest}"


def _way(case: Case) -> str:
    parts = [case.strategy]
    parts += ["offload"] if case.offload == "cpu" else []
    parts += ["checkpointing"] if case.checkpointing else []
    parts += [case.precision] if case.precision != "fp32" else []
    parts += ["alone"] if case.processes == 1 else []
    return ", ".join(parts)
