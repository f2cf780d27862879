"""The tables of `checkpoint.py`: seconds and MB/s of each case, ratios inside each repetition, goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from material import commit_label
from state_rows import CaseName, Repetition

NAMES: dict[CaseName, str] = {
    "save-biodist": "save, biodist",
    "save-deepspeed": "save, DeepSpeed with fsync",
    "save-dd": "save, dd conv=fsync",
    "restore-biodist": "restore, biodist",
    "restore-unproven": "restore, biodist without its proof",
    "restore-deepspeed": "restore, DeepSpeed",
    "restore-biodist-cold": "restore from disk, biodist",
    "restore-deepspeed-cold": "restore from disk, DeepSpeed",
    "copy-biodist": "stall of the loop, biodist",
    "copy-plain": "plain copy in memory",
}


@dataclass(frozen=True)
class Comparison:
    """Ours against another: in seconds (at most the goal) or in MB/s of each one's own bytes (at least the goal)."""

    ours: CaseName
    theirs: CaseName
    measure: str  # seconds | MB/s
    goal: float

    def ratio(self, repetition: Repetition) -> float:
        ours, theirs = repetition[self.ours], repetition[self.theirs]
        if self.measure == "seconds":
            return ours.seconds / theirs.seconds
        return ours.mb_per_second / theirs.mb_per_second

    @property
    def wanted(self) -> str:
        return f"{'≤' if self.measure == 'seconds' else '≥'} {self.goal}"

    def verdict(self, ratios: Sequence[float]) -> str:
        """By the median; what the spread allows to doubt is said."""
        met = [ratio <= self.goal if self.measure == "seconds" else ratio >= self.goal for ratio in ratios]
        middle = median(ratios)
        said = middle <= self.goal if self.measure == "seconds" else middle >= self.goal
        return ("met" if said else "not met") + ("" if all(met) or not any(met) else " (inside the spread)")


COMPARISONS = (
    Comparison("save-biodist", "save-dd", "MB/s", 0.8),
    Comparison("save-biodist", "save-deepspeed", "seconds", 1.0),
    Comparison("save-biodist", "save-deepspeed", "MB/s", 1.0),
    Comparison("restore-biodist", "restore-deepspeed", "seconds", 1.0),
    Comparison("restore-unproven", "restore-deepspeed", "seconds", 1.0),
    Comparison("restore-biodist-cold", "restore-deepspeed-cold", "seconds", 1.0),
    Comparison("copy-biodist", "copy-plain", "seconds", 1.5),
)


def markdown(repetitions: Sequence[Repetition], command: str) -> str:
    """The figures of whole repetitions of one commit and settings."""
    if not repetitions:
        return "No repetition is whole yet: nothing to compare.\n"
    lines = [*_heading(repetitions, command), "", *_figures(repetitions), "", *_ratios(repetitions)]
    return "\n".join(lines) + "\n"


def _heading(repetitions: Sequence[Repetition], command: str) -> Iterator[str]:
    row = repetitions[0]["save-biodist"]
    settings = row.settings
    yield (
        f"{len(repetitions)} repetitions in turns; {settings.parameters / 1e6:.0f} M parameters "
        f"({settings.layers} layers × {settings.hidden_size}), AdamW, {settings.strategy}, {settings.processes} "
        f"processes of {settings.threads} threads, {settings.processor}; {commit_label(row.commit)}."
    )
    yield ""
    yield f"    {command}"


def _figures(repetitions: Sequence[Repetition]) -> Iterator[str]:
    yield "| case | GB | seconds, median | min to max | MB/s, median |"
    yield "|---|---|---|---|---|"
    for case, name in NAMES.items():
        rows = [repetition[case] for repetition in repetitions]
        seconds = [row.seconds for row in rows]
        yield (
            f"| {name} | {rows[0].bytes / 1e9:.2f} | {median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} "
            f"| {median(row.mb_per_second for row in rows):,.0f} |"
        )


def _ratios(repetitions: Sequence[Repetition]) -> Iterator[str]:
    yield "| ratio, within a repetition | of | median | min to max | goal | |"
    yield "|---|---|---|---|---|---|"
    for comparison in COMPARISONS:
        ratios = [comparison.ratio(repetition) for repetition in repetitions]
        yield (
            f"| {NAMES[comparison.ours]} / {NAMES[comparison.theirs]} | {comparison.measure} | {median(ratios):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} | {comparison.wanted} | {comparison.verdict(ratios)} |"
        )
