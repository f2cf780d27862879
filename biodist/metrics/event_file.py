"""A run's one TensorBoard file, written with tensorboard's own records; no torch, no tensorflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from biodist.metrics.event_folder import next_path, retire_all_but
from biodist.metrics.growing_file import GrowingFile


class EventFile:
    """One monotone file of scalars in `folder`, in place of all older ones once published.

    Its head is the format's version and a START at step 0. A reader that follows the folder through a resume then
    drops what it had from the old file before it reads the new one.
    """

    def __init__(self, folder: Path, started: float):
        folder.mkdir(parents=True, exist_ok=True)
        self._file = GrowingFile(next_path(folder))
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=started, file_version="brain.Event:2"))
        self._write(Event(wall_time=started, step=0, session_log=SessionLog(status=SessionLog.START)))

    @property
    def path(self) -> Path:
        return self._file.path

    def scalars(self, step: int, wall_time: float, values: Mapping[str, float]) -> None:
        """Appends values by tag, all of one step, in one record; `wall_time` in UNIX seconds."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(Event(wall_time=wall_time, step=step, summary=summary))

    def publish(self) -> None:
        """Puts the file in place, then retires older ones, so that at no instant there is none."""
        self._file.publish()
        retire_all_but(self.path)

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
