"""Event files as other writers make them, with TensorBoard's own records, and runs of ours with made-up events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from biodist.metrics.events import EventLog, StepEvent
from biodist.run.folder import RunFolder
from biodist.run.records import AttemptRecord, Result

START_S = 1.7e9


def version() -> Event:
    return Event(wall_time=START_S, file_version="brain.Event:2")


def start(step: int) -> Event:
    return Event(wall_time=START_S, step=step, session_log=SessionLog(status=SessionLog.START))


def scalar(tag: str, step: int, value: float, time: float = START_S) -> Event:
    return Event(wall_time=time, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))


def tensor(tag: str, step: int, value: float, plugin: str | None = "scalars", time: float = START_S) -> Event:
    """A scalar as TensorFlow 2 writes it: the plugin is named in a tag's first record alone."""
    metadata = None if plugin is None else SummaryMetadata(plugin_data={"plugin_name": plugin})
    number = make_tensor_proto(np.float32(value))
    one = Summary.Value(tag=tag, tensor=number, metadata=metadata)
    return Event(wall_time=time, step=step, summary=Summary(value=[one]))


def write(path: Path, events: Iterable[Event]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        records = RecordWriter(file)
        for event in events:
            records.write(event.SerializeToString())
        file.flush()
    return path


def add(path: Path, events: Iterable[Event]) -> None:
    """Grows a file, as a writer that is still there does."""
    other = write(path.with_name("more"), events)
    with path.open("ab") as file:
        file.write(other.read_bytes())
    other.unlink()


def own_run(
    folder: Path,
    attempts: list[tuple[int, int]],
    settings: dict[str, Any] | None = None,
    ranks: int = 1,
    seed: int = 0,
    status: str | None = "finished",
) -> RunFolder:
    """A run of ours: `attempts` are (resumed from, last step); every tenth step is evaluated."""
    draw = np.random.default_rng(seed)
    run = RunFolder(folder.absolute())
    folder.mkdir(parents=True)
    run.recipe.write_text("name: made-up\n")
    last = attempts[-1][1]
    for number, (resumed, end) in enumerate(attempts, start=1):
        attempt = run.new_attempt()
        attempt.plan.write_text(json.dumps({"recipe": {"name": "made-up", **(settings or {})}}))
        for rank in range(ranks):
            with EventLog(attempt.events(rank)) as log:
                _tell(log, rank, resumed, end, 1000.0 * number, draw)
        ended = end == last and status == "finished"
        # The record of a killed attempt was never told how far it came.
        steps = {"resumed_step": resumed, "first_step": resumed + 1, "last_step": end} if ended else {}
        AttemptRecord(
            number=number,
            outcome="finished" if ended else "running",
            host="node1",
            pid=1,
            world_size=ranks,
            strategy="ddp",
            started=1000.0 * number,
            **steps,
        ).save(attempt.record)
    if status is not None:
        Result(
            status=status,  # type: ignore[arg-type]
            steps=last,
            samples_seen=last,
            tokens_seen=last,
            train_seconds=1.0,
            tokens_per_second=1.0,
        ).save(run.result)
    return run


def _tell(log: EventLog, rank: int, resumed: int, end: int, began: float, draw: Any) -> None:
    log.write("started", rank=rank, world_size=1, pid=1, host="node1")
    if rank == 0:
        log.resumed(resumed)
    for step in range(resumed + 1, end + 1):
        seconds = float(draw.random()) + 0.01
        pace = {"seconds": seconds, "forward_seconds": 0.1, "waiting_seconds": float(draw.random()), "tokens": 100}
        log.write("pace", step=step, **pace, peak_memory_bytes=1 << 30, time=began + step)
        if rank == 0:
            loss = float(draw.random())
            log.step(StepEvent(step, 1, 8, "0" * 64, loss, 1e-3, 1.5, 800, 8, 80, seconds, began + step))
            if step % 10 == 0:
                scores = {"f1": loss, "loss": 1.0, "types": {"Disease": {"f1": loss / 2, "support": 3}}}
                log.scalars(step, "validation", scores)


@pytest.fixture(scope="session")
def events() -> Any:
    """The functions of this file, for tests."""
    from types import SimpleNamespace

    return SimpleNamespace(
        START_S=START_S,
        version=version,
        start=start,
        scalar=scalar,
        tensor=tensor,
        write=write,
        add=add,
        own_run=own_run,
    )


Writer = Callable[..., Path]
