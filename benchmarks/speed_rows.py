"""One measured case a line: what was run, and what it came to. A case on record is not run again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from biodist.run.durable import JsonLines, read_json_lines
from biodist.run.provenance import Commit
from biodist.run.records import Record

Variant = Literal["trainer-fp32", "trainer-fp32-grouped", "trainer-bf16", "biodist-fp32", "biodist-bf16"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


class Settings(Record):
    """What must be equal for two figures to be compared. Digests are the first 12 hex digits of a file's SHA-256."""

    steps: int
    batch: int  # sentences a step
    learning_rate: float
    threads: int
    processor: str
    encoder: str  # digest of its weights
    corpus: str  # digest of train.tsv
    peer: str  # digest of the script


class Case(Record):
    """One variant in one repetition."""

    variant: Variant
    repetition: int  # from 1
    commit: Commit
    settings: Settings


class Row(Record):
    """A case that was measured."""

    case: Case
    tokens: int  # trained on, special ones included, padding not
    seconds: float  # of training, from the first step on
    setup_seconds: float | None = None  # of the peer's train() before its first step; not in `seconds`
    said_tokens_per_second: float | None = None  # the peer's own estimate
    time: float  # UNIX seconds of the end

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def cases(repetitions: int, commit: Commit, settings: Settings) -> Iterator[Case]:
    """Every case, repetition by repetition; who goes first changes from one to the next."""
    for repetition in range(1, repetitions + 1):
        first = (repetition - 1) % len(VARIANTS)
        for variant in VARIANTS[first:] + VARIANTS[:first]:
            yield Case(variant=variant, repetition=repetition, commit=commit, settings=settings)


def read_rows(path: Path) -> dict[Case, Row]:
    """The rows of a file by their case; none without a file."""
    rows = (Row.model_validate(line) for line in read_json_lines(path))
    return {row.case: row for row in rows}


def append_row(path: Path, row: Row) -> None:
    """Adds a row, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with JsonLines(path) as lines:
        lines.append(row.model_dump(mode="json"))
