"""Event files by column: equal to EventAccumulator point by point; torn, damaged and strange ones."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as TensorAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.util.tensor_util import make_ndarray

from biodist.aggregation import event_scan
from biodist.aggregation.event_scan import Restart, Scan, scan
from biodist.aggregation.runs import RunPlace, RunView, read_run

ALL = {"scalars": 0, "tensors": 0}  # none left out
Points = dict[str, list[tuple[int, float, float]]]


def read(folder: Path) -> RunView:
    return read_run(RunPlace("run", folder.absolute(), "foreign"))


def points_of(view: RunView) -> Points:
    return {
        tag: list(zip(one.steps.tolist(), one.values.tolist(), one.times.tolist(), strict=True))
        for tag, one in view.series.items()
    }


def reference(folder: Path) -> Points:
    """What EventAccumulator has of the scalars of a folder, in either form."""
    known = EventAccumulator(str(folder), size_guidance=ALL)
    known.Reload()
    found = {tag: [(e.step, e.value, e.wall_time) for e in known.Scalars(tag)] for tag in known.Tags()["scalars"]}
    # It purges no tensors. The accumulator of TensorBoard itself does, from the second START on.
    tensors = TensorAccumulator(str(folder), tensor_size_guidance={"scalars": 0})
    tensors.Reload()
    for tag in known.Tags()["tensors"]:
        if tensors.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            found[tag] = [(e.step, make_ndarray(e.tensor_proto).item(), e.wall_time) for e in tensors.Tensors(tag)]
    return {tag: points for tag, points in found.items() if points}


def random_run(folder: Path, seed: int, events: Any) -> int:
    """A run of several files: tags in either form or several a record, logged now and then, restarts that purge.

    Gives the number of restarts.
    """
    draw = random.Random(seed)
    plain = [f"train/tag_{n}" for n in range(draw.randint(1, 4))]
    tensors = [f"eval/{'x' * draw.randint(1, 40)}_{n}" for n in range(draw.randint(0, 3))]
    step, time, restarts = draw.choice([0, 1, 120, 16_300]), events.START_S, 0
    for file in range(draw.randint(1, 4)):
        step = max(0, step - draw.randint(0, 60)) if file else step
        found = [events.version(), events.start(step)]
        restarts += bool(file)
        named: set[str] = set()
        for _ in range(draw.randint(20, 160)):
            time += draw.random()
            for tag in plain:
                value = draw.choice([draw.gauss(0, 1e3), 0.0, float("inf")]) if draw.random() < 0.2 else draw.random()
                found.append(events.scalar(tag, step, value, time))
            if draw.random() < 0.3:
                for tag in tensors:
                    plugin = None if tag in named else "scalars"
                    found.append(events.tensor(tag, step, draw.random(), plugin, time))
                    named.add(tag)
            if draw.random() < 0.2:
                several = [Summary.Value(tag=f"many/{n}", simple_value=draw.random()) for n in range(3)]
                found.append(Event(wall_time=time, step=step, summary=Summary(value=several)))
            step += draw.choice([1, 1, 1, 7])
        events.write(folder / f"events.out.tfevents.{1700000000 + file}.host", found)
    return restarts


@pytest.mark.timeout(120)
def test_every_point_of_random_runs(tmp_path: Path, events: Any) -> None:
    restarts = 0
    for seed in range(20):
        folder = tmp_path / f"run{seed}"
        restarts += random_run(folder, seed, events)
        view = read(folder)
        assert view.damaged == 0 and not view.problems
        found, wanted = points_of(view), reference(folder)
        assert found.keys() == wanted.keys()
        for tag, points in wanted.items():
            assert np.array_equal(np.array(found[tag]), np.array(points), equal_nan=True), (seed, tag)
    assert restarts > 20


def test_rows_are_found_and_read_together(tmp_path: Path, events: Any) -> None:
    """The fast path is taken, or the comparison above would say nothing about it."""
    path = events.write(
        tmp_path / "events.out.tfevents.1", [events.scalar(f"t{n}", step, step) for step in range(1, 400) for n in "ab"]
    )
    found = scan(path.read_bytes())
    sizes = [part.steps.shape for part in found.parts if not isinstance(part, Restart)]
    assert sizes == [(127, 2), (272, 2)]


def test_a_pattern_of_another_file_changes_nothing(tmp_path: Path, events: Any) -> None:
    """Patterns are kept from file to file: one whose rows look alike but say other things must not be believed."""
    for folder, tags in (("a", ("one", "two")), ("b", ("one", "two")), ("c", ("two", "one"))):
        made = [events.scalar(tag, step, step + n) for step in range(1, 60) for n, tag in enumerate(tags)]
        events.write(tmp_path / folder / "events.out.tfevents.1", made)
        assert points_of(read(tmp_path / folder)) == reference(tmp_path / folder)


def test_restart_without_a_marker(tmp_path: Path, events: Any) -> None:
    """What was written again counts: the curve is one line."""
    first = [events.scalar("loss", step, 1.0) for step in range(1, 41)]
    again = [events.scalar("loss", step, 2.0) for step in range(25, 61, 5)]
    events.write(tmp_path / "events.out.tfevents.1", first)
    events.write(tmp_path / "events.out.tfevents.2", again)
    view = read(tmp_path)
    assert view.series["loss"].steps.tolist() == [*range(1, 25), *range(25, 61, 5)]
    assert set(view.series["loss"].values[24:]) == {2.0}
    assert view.dropped == 16


def torn(data: bytes) -> list[bytes]:
    return [data[: len(data) - cut] for cut in (1, 5, 20, 30)]


def test_a_torn_tail_is_left_for_next_time(tmp_path: Path, events: Any) -> None:
    data = events.write(tmp_path / "x", [events.scalar("loss", step, step) for step in range(1, 30)]).read_bytes()
    whole = scan(data)
    for part in torn(data):
        first = scan(part)
        assert not first.damage and first.records == 28
        rest = scan(data[first.end :])
        assert rest.records == 1 and first.end + rest.end == whole.end == len(data)


def damaged_at(found: Scan) -> list[int]:
    return [one.offset for one in found.damage]


def test_a_damaged_record_is_named_and_passed_over(tmp_path: Path, events: Any) -> None:
    made = [events.scalar("loss", step, step) for step in range(1, 101)]
    data = bytearray(events.write(tmp_path / "events.out.tfevents.1", made).read_bytes())
    size = len(data) // 100
    data[40 * size + 20] ^= 1  # its tag or value
    data[60 * size + 5] ^= 1  # a length: what follows has to be found
    (tmp_path / "events.out.tfevents.1").write_bytes(data)
    found = scan(bytes(data))
    assert damaged_at(found) == [40 * size, 60 * size]
    view = read(tmp_path)
    assert view.damaged == 2 and len(view.problems) == 2
    assert all(str(tmp_path / "events.out.tfevents.1") in problem.where for problem in view.problems)
    assert view.series["loss"].steps.tolist() == [step for step in range(1, 101) if step not in (41, 61)]


@pytest.mark.parametrize("bit", range(0, 8 * 40, 7))
def test_no_flipped_bit_passes(tmp_path: Path, events: Any, bit: int) -> None:
    """Of a record among rows that are read together, wherever the bit is."""
    made = [events.scalar("loss", step, step) for step in range(1, 101)]
    data = bytearray(events.write(tmp_path / "x", made).read_bytes())
    size = len(data) // 100
    data[50 * size + bit // 8 % size] ^= 1 << bit % 8
    steps = [step for part in scan(bytes(data)).parts for step in np.ravel(part.steps).tolist()]  # type: ignore[union-attr]
    assert steps == [step for step in range(1, 101) if step != 51]


def test_without_the_checksums_a_flipped_bit_would_pass(
    tmp_path: Path, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sabotage: checksums that are not looked at."""
    made = [events.scalar("loss", step, step) for step in range(1, 101)]
    data = bytearray(events.write(tmp_path / "x", made).read_bytes())
    data[50 * (len(data) // 100) + 14] ^= 1  # the time
    monkeypatch.setattr(
        event_scan.RowPattern, "_fits", lambda self, rows, varying: np.ones(len(rows), np.bool_), raising=True
    )
    event_scan._patterns.clear()
    assert not scan(bytes(data)).damage


@pytest.mark.parametrize(
    "data", [b"", b"short", bytes(100), random.Random(1).randbytes(5000), b"PK\x03\x04" + bytes(4000)]
)
def test_files_that_are_no_event_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(data)
    view = read(tmp_path)
    assert not view.series
    assert view.damaged == (len(data) >= 12)


def test_a_header_that_promises_more_than_memory(tmp_path: Path, events: Any) -> None:
    """A true checksum over an absurd length: the file's end is waited for, nothing is allocated."""
    length = struct.pack("<Q", 1 << 60)
    from biodist.aggregation.crc32c import crc32c, masked

    good = events.write(tmp_path / "x", [events.scalar("loss", 1, 1.0)]).read_bytes()
    found = scan(good + length + struct.pack("<I", masked(crc32c(length))) + bytes(50))
    assert found.records == 1 and found.end == len(good)


def test_what_is_no_scalar_is_passed_over(tmp_path: Path, events: Any) -> None:
    histogram = Summary.Value(tag="weights", histo=HistogramProto(min=0, max=1, num=2, bucket_limit=[1], bucket=[2]))
    large = Summary.Value(tag="picture", image=Summary.Image(encoded_image_string=bytes(200_000)))
    made = [
        events.version(),
        Event(wall_time=1.0, step=1, summary=Summary(value=[histogram])),
        Event(wall_time=1.0, step=1, summary=Summary(value=[large])),
        events.tensor("text", 1, 1.0, "text"),
        events.scalar("loss", 1, 1.0),
    ]
    events.write(tmp_path / "events.out.tfevents.1", made)
    view = read(tmp_path)
    assert list(view.series) == ["loss"] and not view.damaged


def test_windows_smaller_than_a_file_change_nothing(
    tmp_path: Path, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_run(tmp_path, 3, events)
    at_once = points_of(read(tmp_path))
    monkeypatch.setattr("biodist.aggregation.foreign_run._WINDOW", 700)
    assert points_of(read(tmp_path)) == at_once
