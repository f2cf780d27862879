"""Where a run can be struck: named instants of its life, each one instruction of the harness."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

FOLDER = Path(__file__).parent / "trap"


@dataclass(frozen=True)
class Moment:
    """An instant of a run: just before a call of ``function`` of ``module`` (of those calls that get ``having``)."""

    name: str
    module: str
    function: str
    first: int = 1  # the call struck is drawn between first and last, every odd or even one where stride is 2
    last: int = 1
    stride: int = 1
    having: str = ""
    launcher: bool = False  # in the launcher, before there are workers
    leads: bool = False  # on rank 0, which does it alone
    ends: bool = False  # so late that a request to stop may find the run finished

    def draw(self, random: Random) -> int:
        """Which call of the function it is this time."""
        return random.randrange(self.first, self.last + 1, self.stride)


MOMENTS = (
    Moment("data preparation", "biodist.data.cache", "CacheSlot.publish", launcher=True),
    Moment("run folder", "biodist.run.durable", "os.fsync", last=11, launcher=True),
    Moment("start-up", "biodist.training.attempt", "build_model"),
    Moment("before the first step", "biodist.training.watchdog", "Watchdog.beat", having="looking for a checkpoint"),
    Moment("record rewritten", "biodist.metrics.event_file", "EventFile.publish", leads=True),
    Moment("step", "biodist.training.engine", "Engine.update", last=9),
    Moment("save: copy", "biodist.training.saver", "Snapshot.take", last=2),
    Moment("save: shard", "biodist.checkpoint.saving", "in_chunks", first=2, last=60),
    Moment("save: manifest", "biodist.checkpoint.saving", "_publish", last=2, leads=True),
    Moment("before the rename", "biodist.checkpoint.saving", "sync_folder", last=3, stride=2, leads=True),
    Moment("after the rename", "biodist.checkpoint.saving", "sync_folder", first=2, last=4, stride=2, leads=True),
    Moment("retention", "biodist.run.durable", "shutil.rmtree", having="/step-", leads=True),
    Moment("evaluation", "biodist.training.watchdog", "Watchdog.beat", last=2, having="evaluating batch"),
    Moment("scores to record", "biodist.training.recorder", "Recorder.scores", last=2, leads=True),
    Moment("model export", "biodist.training.attempt", "export", leads=True, ends=True),
    Moment("result", "biodist.training.recorder", "Recorder.finished", leads=True, ends=True),
)


def moment(name: str) -> Moment:
    """The moment of that name. Raises KeyError."""
    return {m.name: m for m in MOMENTS}[name]


@dataclass(frozen=True)
class Trap:
    """One process made to stand still at one call; or, with ``skips``, a function that does nothing at any call."""

    module: str
    function: str
    having: str
    call: int
    rank: int | None  # None: the launcher
    reached: str
    release: str
    skips: bool = False

    @property
    def holds(self) -> int | None:
        """The process that stands in the trap; None while none does."""
        path = Path(self.reached)
        return int(path.read_text()) if path.exists() else None

    def let_go(self) -> None:
        """Lets it go on."""
        Path(self.release).touch()


def environment(outer: Mapping[str, str], traps: Sequence[Trap]) -> dict[str, str]:
    """Variables for a command that runs into ``traps``."""
    if not traps:
        return dict(outer)
    path = os.pathsep.join(filter(None, (str(FOLDER), outer.get("PYTHONPATH"))))
    return {**outer, "PYTHONPATH": path, "CAMPAIGN_TRAPS": json.dumps([asdict(trap) for trap in traps])}
