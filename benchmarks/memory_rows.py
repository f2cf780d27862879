"""What a rank took: one measured case a line. A case on record is not measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from biodist.plan.plan import MemoryPlan, Strategy
from biodist.run.durable import read_json_lines
from biodist.run.provenance import Commit
from biodist.run.records import Record

ModelName = Literal["minilm", "bert-base", "bert-large"]
LAYERS_OF: dict[ModelName, tuple[int, int, int, int]] = {
    "minilm": (6, 384, 12, 1536),
    "bert-base": (12, 768, 12, 3072),
    "bert-large": (24, 1024, 16, 4096),
}
"""Layers, width, heads, width of the feed-forward layer."""


class Case(Record):
    """One training of a few steps, in processes of its own."""

    model: ModelName
    shortest: int  # tokens of a window: lengths go evenly from here …
    longest: int  # … to here
    strategy: Strategy
    offload: Literal["none", "cpu"] = "none"
    checkpointing: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    processes: int = 2
    task: Literal["ner", "nli"] = "ner"

    @property
    def name(self) -> str:
        lengths = f"{self.longest}" if self.shortest == self.longest else f"{self.shortest}-{self.longest}"
        saved = ("-checkpointing" if self.checkpointing else "") + ("-offload" if self.offload != "none" else "")
        task = "" if self.task == "ner" else f"-{self.task}"
        return f"{self.model}-{lengths}-{self.strategy}{saved}-{self.precision}-{self.processes}{task}"


Malloc = Literal["exact", "default"]
"""exact: glibc gives every block from 64 KiB on back to the system when it is freed, so that resident memory is what is
used. default: as it is; some of what was freed stays, and more the longer a process lives."""


class Phase(Record):
    """A stretch of a rank's life, in bytes."""

    name: str
    resident: int  # at its end
    peak: int  # in it


class Grown(Record):
    """What one rank measured."""

    rank: int
    before: int  # resident bytes just before the model is built, freed pages given back
    phases: tuple[Phase, ...]

    @property
    def growth(self) -> int:
        """Bytes of the peak, since just before the model was built."""
        return max(phase.peak for phase in self.phases) - self.before


class Row(Record):
    """One case: what was planned, what each rank measured."""

    commit: Commit
    case: Case
    malloc: Malloc
    tokens: int  # of the largest micro-batch
    micro_batches: int  # of a process and step
    planned: MemoryPlan
    ranks: tuple[Grown, ...]
    time: float  # UNIX seconds of the end

    @property
    def growth(self) -> int:
        """Of the rank that grew most."""
        return max(rank.growth for rank in self.ranks)

    @property
    def ratio(self) -> float:
        """Planned growth / measured growth."""
        return self.planned.growth / self.growth


def read_rows(path: Path, commit: Commit, malloc: Malloc) -> dict[str, Row]:
    """Cases by name, measured at this commit and with this allocator; none without a file."""
    rows = (Row.model_validate(line) for line in read_json_lines(path))
    return {row.case.name: row for row in rows if (row.commit, row.malloc) == (commit, malloc)}
