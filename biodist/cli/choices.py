"""The ways to train a recipe at one place, as `biodist plan` shows them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from biodist.plan.amounts import size_of

if TYPE_CHECKING:
    from biodist.plan.plan import Choice, Plan

PARTS = ("weights", "gradients", "optimizer", "activations", "buffers")
"""Of a process's memory, what differs between the ways (`MemoryPlan.parts`)."""


def choice_lines(plan: Plan) -> list[str]:
    """A line for every way, the cheapest in time first; a star marks the plan's own."""
    host = ["in host memory"] if _offloads(plan) else []
    rows = [["", "", "a process", *PARTS, "micro-batch", "sends a step", *host, ""]]
    rows += [_row(plan, choice) for choice in plan.choices]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = (0, 1, len(widths) - 1)
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def verdict_lines(plan: Plan) -> list[str]:
    """Which way to take, and whether ZeRO is needed at all."""
    fitting = [choice for choice in plan.choices if choice.fits]
    if not fitting:
        return ["none of them leaves room to spare"]
    cheapest = fitting[0]
    if is_chosen(plan, cheapest):
        first = "the plan's is the cheapest that fits"
    else:
        first = f"the cheapest that fits: {cheapest.name}; add {shlex.join(cheapest.overrides)}"
    return [first, _zero_verdict(plan, fitting)]


def _zero_verdict(plan: Plan, fitting: list[Choice]) -> str:
    without = [choice for choice in fitting if choice.strategy == "ddp"]
    if not without:
        smallest = min((c for c in plan.choices if c.strategy == "ddp"), key=lambda choice: choice.memory.total)
        return f"ZeRO is needed: ddp takes {size_of(smallest.memory.total)} a process at least"
    return f"ZeRO is not needed: {without[0].name} fits"


def is_chosen(plan: Plan, choice: Choice) -> bool:
    """Whether a way is the recipe's own."""
    return choice.overrides == plan.setting.overrides


def _offloads(plan: Plan) -> bool:
    return any(choice.memory.host for choice in plan.choices)


def _row(plan: Plan, choice: Choice) -> list[str]:
    memory, parts = choice.memory, choice.memory.parts
    host = [size_of(memory.host) if memory.host else "-"] if _offloads(plan) else []
    return [
        "*" if is_chosen(plan, choice) else "",
        choice.name,
        size_of(memory.total),
        *(size_of(parts[part]) if parts[part] else "-" for part in PARTS),
        f"{choice.micro_batch:,}",
        size_of(memory.communication) if memory.communication else "nothing",
        *host,
        "fits" if choice.fits else "does not fit",
    ]
