"""Events of a rank: what is written reads back exactly, whatever a kill leaves of the last line."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.errors import RunFailed
from biodist.metrics.events import EventLog, ResumedEvent, ScalarsEvent, StepEvent, read_events

pytestmark = pytest.mark.timeout(60)


def step_event(step: int, loss: float = 0.1, grad_norm: float = 1 / 3) -> StepEvent:
    return StepEvent(
        step=step,
        epoch=1,
        count=4,
        digest="0" * 64,
        loss=loss,
        learning_rate=3e-5,
        grad_norm=grad_norm,
        tokens=90,
        samples=4,
        targets=60,
        seconds=0.25,
        time=1_700_000_000.125 + step,
    )


@given(loss=st.floats(allow_nan=False), grad_norm=st.floats(allow_nan=False))
@settings(max_examples=60, deadline=None)
def test_floats_read_back_bit_for_bit(tmp_path_factory, loss, grad_norm):
    path = tmp_path_factory.mktemp("events") / "events-rank-0.jsonl"
    event = step_event(1, loss, grad_norm)
    with EventLog(path) as log:
        log.step(event)
    (read,) = read_events(path)
    assert read == event
    assert math.copysign(1, read.loss) == math.copysign(1, loss)


def test_nan_is_written_as_strict_json_and_reads_back(tmp_path):
    path = tmp_path / "events-rank-0.jsonl"
    with EventLog(path) as log:
        log.step(step_event(1, math.nan, math.inf))
        log.scalars(1, "validation", {"loss": -math.inf, "types": {"Disease": {"f1": math.nan}}})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert (lines[0]["loss"], lines[0]["grad_norm"]) == ("nan", "inf")
    assert lines[1]["values"] == {"loss": "-inf", "types": {"Disease": {"f1": "nan"}}}
    step, scalars = read_events(path)
    assert math.isnan(step.loss) and step.grad_norm == math.inf
    assert scalars.values["loss"] == "-inf"


def test_each_line_is_there_at_once_with_its_kind_and_time(tmp_path):
    path = tmp_path / "events-rank-1.jsonl"
    log = EventLog(path)
    try:
        log.write("started", rank=1, world_size=2, pid=7, host="n1")
        log.resumed(4)
        started, resumed = (json.loads(line) for line in path.read_text().splitlines())
    finally:
        log.close()
    assert started["kind"] == "started" and started["rank"] == 1 and started["time"] > 0
    assert resumed["kind"] == "resumed" and resumed["step"] == 4


def test_other_kinds_are_passed_over(tmp_path):
    path = tmp_path / "events-rank-0.jsonl"
    with EventLog(path) as log:
        log.write("phase", name="training", total_steps=3)
        log.resumed(0)
        log.scalars(0, "validation", {"f1": 0.5})
        log.write("saved", step=1, bytes=10, seconds=0.1, stall_seconds=0.0)
    resumed, scalars = read_events(path)
    assert isinstance(resumed, ResumedEvent) and resumed.step == 0
    assert isinstance(scalars, ScalarsEvent) and scalars.values == {"f1": 0.5}


@pytest.mark.parametrize("lost", [1, 20, 200])
def test_a_torn_last_line_is_left_out_and_cut_on_reopening(tmp_path, lost):
    path = tmp_path / "events-rank-0.jsonl"
    with EventLog(path) as log:
        log.step(step_event(1))
        log.step(step_event(2))
    path.write_bytes(path.read_bytes()[:-lost])
    assert [event.step for event in read_events(path)] == [1]
    with EventLog(path) as log:
        log.step(step_event(2))
    assert list(read_events(path)) == [step_event(1), step_event(2)]


def test_damage_in_the_middle_names_file_and_line_and_not_what_it_holds(tmp_path):
    path = tmp_path / "events-rank-0.jsonl"
    with EventLog(path) as log:
        for step in (1, 2, 3):
            log.step(step_event(step))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "carcinoma\n" + lines[2])
    with pytest.raises(RunFailed) as failure:
        list(read_events(path))
    assert f"{path}:2: not a JSON line" in str(failure.value)
    assert "carcinoma" not in str(failure.value)


def test_an_event_that_lacks_a_field_is_named(tmp_path):
    path = tmp_path / "events-rank-0.jsonl"
    with EventLog(path) as log:
        log.write("step", step=1, epoch=1)
    with pytest.raises(RunFailed, match=r"events-rank-0\.jsonl:1: the line is not a whole event"):
        list(read_events(path))
