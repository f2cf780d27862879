"""The table of `ner_speed.py`: speeds, ratios inside each repetition, and whether the goals are met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from material import commit_label
from speed_rows import VARIANTS, Row, Variant

NAMES: dict[Variant, str] = {
    "trainer-fp32": "Trainer fp32",
    "trainer-fp32-grouped": "Trainer fp32, grouped by length",
    "trainer-bf16": "Trainer bf16",
    "biodist-fp32": "biodist fp32",
    "biodist-bf16": "biodist bf16",
}


@dataclass(frozen=True)
class Comparison:
    """How many times as fast one variant is to be as another; without a goal it is reported alone."""

    ours: Variant
    theirs: Variant
    goal: float | None = None

    def verdict(self, ratios: Sequence[float]) -> str:
        """A goal inside the spread is not met, and one repetition has no spread."""
        if self.goal is None:
            return ""
        if len(ratios) < 2:
            return "one repetition decides nothing"
        if min(ratios) >= self.goal:
            return "met"
        return "not met" + (" (inside the spread)" if max(ratios) >= self.goal else "")


COMPARISONS = (
    Comparison("biodist-fp32", "trainer-fp32", 1.6),
    Comparison("biodist-bf16", "trainer-fp32", 2.3),
    Comparison("biodist-bf16", "trainer-bf16", 1.6),
    Comparison("biodist-fp32", "trainer-fp32-grouped"),
    Comparison("biodist-bf16", "trainer-fp32-grouped"),
)


def whole_repetitions(rows: Sequence[Row]) -> dict[int, dict[Variant, Row]]:
    """Rows by repetition and variant, of the repetitions in which every variant was measured."""
    found: dict[int, dict[Variant, Row]] = {}
    for row in rows:
        found.setdefault(row.case.repetition, {})[row.case.variant] = row
    return {number: found[number] for number in sorted(found) if len(found[number]) == len(VARIANTS)}


def markdown(rows: Sequence[Row], command: str) -> str:
    """The figures of rows with the same commit and settings."""
    whole = list(whole_repetitions(rows).values())
    if not whole:
        return "No repetition is whole yet: nothing to compare.\n"
    return "\n".join([*_heading(whole, command), "", *_speeds(whole), "", *_ratios(whole)]) + "\n"


def _heading(whole: Sequence[dict[Variant, Row]], command: str) -> Iterator[str]:
    case = whole[0][VARIANTS[0]].case
    settings = case.settings
    yield (
        f"{len(whole)} repetitions in turns, {settings.steps} steps of {settings.batch} sentences, one process, "
        f"{settings.threads} threads, {settings.processor}; {commit_label(case.commit)}."
    )
    yield ""
    yield f"    {command}"


def _speeds(whole: Sequence[dict[Variant, Row]]) -> Iterator[str]:
    yield "| variant | real tokens/s, median | min to max | its own estimate, median |"
    yield "|---|---|---|---|"
    for variant in VARIANTS:
        rows = [repetition[variant] for repetition in whole]
        speeds = [row.tokens_per_second for row in rows]
        said = [row.said_tokens_per_second for row in rows if row.said_tokens_per_second is not None]
        yield (
            f"| {NAMES[variant]} | {median(speeds):,.0f} | {min(speeds):,.0f} to {max(speeds):,.0f} "
            f"| {f'{median(said):,.0f}' if said else ''} |"
        )


def _ratios(whole: Sequence[dict[Variant, Row]]) -> Iterator[str]:
    yield "| ratio, within a repetition | median | min to max | goal | |"
    yield "|---|---|---|---|---|"
    for comparison in COMPARISONS:
        ours, theirs = comparison.ours, comparison.theirs
        ratios = [each[ours].tokens_per_second / each[theirs].tokens_per_second for each in whole]
        goal = f"≥ {comparison.goal}" if comparison.goal else ""
        yield (
            f"| {NAMES[ours]} / {NAMES[theirs]} | {median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} "
            f"| {goal} | {comparison.verdict(ratios)} |"
        )
