"""What a run says of itself in JSON: an attempt's outcome, a rank's failure, the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from biodist.errors import RunFailed
from biodist.run.durable import write_text
from biodist.run.folder import RunFolder


class Record(BaseModel):
    """A frozen value with a file. Times are UNIX seconds; steps count from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads it. Raises RunFailed when the file is damaged, OSError when it cannot be read."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            places = ", ".join(".".join(map(str, problem["loc"])) or "the whole file" for problem in error.errors())
            raise RunFailed(f"{path}: not a {cls.__name__} (wrong: {places}); restore the file") from None

    def save(self, path: Path) -> None:
        """Writes it, atomically and durably. Raises OSError."""
        write_text(path, self.model_dump_json(indent=2) + "\n")


class Failure(Record):
    """Why one rank failed. `message` holds no text of a corpus.

    ``error``: an exception of its own · ``connection``: another rank went away · ``hang``: no progress ·
    ``signal``: ended by a signal · ``killed``: ended by SIGKILL · ``paused``: stood still, stopped from outside ·
    ``silent``: nothing is heard of it, nor of its node · ``memory``: there was no memory left.
    """

    rank: int
    time: float
    kind: Literal["error", "connection", "hang", "signal", "killed", "paused", "silent", "memory"]
    message: str
    step: int | None = None
    exit_code: int | None = None  # a signal's number negated, as Python's subprocess has it


class Ending(Record):
    """How the process of one rank ended. `status` is its exit code, or a signal's number negated."""

    rank: int
    status: int
    time: float  # when it was noticed
    out_of_memory: bool = False  # killed by the kernel, which had none left


class AttemptRecord(Record):
    """One attempt: `attempt.json`. ``running`` with nobody holding the lease means that the launcher was killed."""

    number: int
    outcome: Literal["running", "finished", "stopped", "failed"]
    host: str
    pid: int  # of the launcher
    world_size: int
    strategy: str
    micro_batch: int | None = None  # windows; None in records from before it was kept
    micro_batch_rule: str | None = None  # what set it
    started: float
    ended: float | None = None
    resumed_step: int | None = None  # step of the checkpoint it went on from; 0: from the start
    first_step: int | None = None
    last_step: int | None = None
    failure: Failure | None = None
    job: str | None = None  # of the cluster
    restart: int = 0  # how often the cluster had started that job again
    nodes: tuple[str, ...] = ()  # by rank of their first process
    stopped_by: str | None = None  # the signal that asked it to stop


class Result(Record):
    """The run: `result.json`."""

    status: Literal["finished", "stopped", "failed"]
    steps: int
    samples_seen: int
    tokens_seen: int  # fed to the model, special ones included, padding not
    train_seconds: float  # in training steps; evaluation and saving apart
    tokens_per_second: float
    weights_sha256: str | None = None  # of the final step's weights
    best_step: int | None = None
    micro_batches: tuple[int, ...] = ()  # windows per micro-batch, of each attempt that trained, in order
    metrics: dict[str, Any] = {}  # validation, test: of the weights in model/, between 0 and 1


def is_finished(run: RunFolder) -> bool:
    """Whether there is nothing left to do. Raises RunFailed when the result is damaged, OSError."""
    return run.result.exists() and Result.load(run.result).status == "finished"
