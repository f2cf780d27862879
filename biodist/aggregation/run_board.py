"""One run's folder in the tree: one event file of growing steps, written anew or grown at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from biodist.aggregation.event_encoding import opening, scalar_records, summary_record
from biodist.aggregation.hyper_parameters import session_end, session_start
from biodist.aggregation.life_story import CARD, card, marker_series, text_value
from biodist.aggregation.look import is_charted
from biodist.aggregation.run_view import RunView, Scalar
from biodist.aggregation.series import Series
from biodist.metrics.event_folder import next_path, retire_all_but
from biodist.run.durable import temporary_name
from biodist.run.records import Record

_OURS = "run/"  # tags that tell of the run itself


class BoardFile(Record):
    """The one file of a folder of the tree, as it was left."""

    name: str
    size: int
    last_step: int


@dataclass(frozen=True)
class Board:
    """A folder of the tree that holds one run's, or one statistic's, event file."""

    folder: Path

    def holds(self, file: BoardFile | None) -> bool:
        """Whether the file is there as it was left."""
        if file is None:
            return False
        try:
            return (self.folder / file.name).stat().st_size == file.size
        except OSError:
            return False

    def write(self, view: RunView) -> BoardFile:
        """A run's file anew, in place of the older one. Raises OSError."""
        started = view.started or time.time()
        head = opening(started) + summary_record(0, started, session_start(view.settings, view.name, started))
        if view.kind == "biodist" or view.markers:
            head += summary_record(0, started, text_value(CARD, card(view)))
        ended = max((float(one.times[-1]) for one in view.series.values()), default=started)
        end = session_end(view.status, ended)
        tail = summary_record(view.last_step, ended, end) if end is not None else b""
        shown = {**charted(view.series), **marker_series(view)}
        return self.replace(head + scalar_records(shown) + tail, view.last_step)

    def write_series(self, series: Mapping[str, Series]) -> BoardFile:
        """A file of scalars alone, in place of the older one. Raises OSError."""
        started = min((float(one.times[0]) for one in series.values() if len(one)), default=time.time())
        last = max((int(one.steps[-1]) for one in series.values() if len(one)), default=0)
        return self.replace(opening(started) + scalar_records(series), last)

    def append(self, file: BoardFile, series: Mapping[str, Series]) -> BoardFile:
        """Grows the file by points that follow its last step. Raises OSError."""
        data = scalar_records(series)
        with (self.folder / file.name).open("ab") as out:
            out.write(data)
        last = max((int(one.steps[-1]) for one in series.values() if len(one)), default=file.last_step)
        return BoardFile(name=file.name, size=file.size + len(data), last_step=max(last, file.last_step))

    def replace(self, data: bytes, last_step: int) -> BoardFile:
        """Puts a file of these bytes in the place of the older one. Raises OSError."""
        # Not synced: the tree can be made again, and a file that is not as it was left is.
        self.folder.mkdir(parents=True, exist_ok=True)
        path = next_path(self.folder)
        hidden = path.with_name(temporary_name(path.name))
        try:
            hidden.write_bytes(data)
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)
        retire_all_but(path)
        return BoardFile(name=path.name, size=len(data), last_step=last_step)


def charted(series: Mapping[str, Series]) -> dict[str, Series]:
    """Without the counts, and without what tells of a run itself."""
    return {tag: one for tag, one in series.items() if is_charted(tag) and not tag.startswith(_OURS)}


def metrics_of(settings: Mapping[str, Scalar], tags: tuple[str, ...], most: int = 6) -> tuple[str, ...]:
    """The tags by which a run is compared: what its recipe chooses by; of a foreign one, what looks like a score."""
    if "evaluate.metric" in settings:
        metric = settings["evaluate.metric"]
        wanted = (f"validation/{metric}", f"test/{metric}", "validation/loss", "train/loss")
        return tuple(tag for tag in wanted if tag in tags)
    scores = [tag for tag in tags if any(word in tag.lower() for word in ("eval", "val", "test"))]
    return tuple((scores or list(tags))[:most])
