"""The stitched stream: killed and resumed anywhere, its files are those of a run that was never killed."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from biodist.errors import RunFailed
from biodist.metrics.events import EventLog, ScalarsEvent, StepEvent
from biodist.metrics.stream import TIME_FIELDS, RunStream, flat_scores, samples_digest, stitch, verify_chain
from biodist.run.folder import RunFolder

pytestmark = pytest.mark.timeout(120)

STEPS = 14
EVALUATE_EVERY = 4


def step_event(step: int) -> StepEvent:
    return StepEvent(
        step=step,
        epoch=1 + (step - 1) // 5,
        count=3,
        digest=samples_digest(f"corpus:{step * 3 + n}" for n in range(3)),
        loss=1.0 / step,
        learning_rate=3e-5 * step,
        grad_norm=float("inf") if step == 3 else 0.1 * step,
        tokens=50 + step,
        samples=3,
        targets=40,
        seconds=0.001 * (time.time() % 1),
    )


def scores(step: int) -> dict:
    return {"loss": 1.5 / step, "f1": step / 100, "types": {"Disease": {"f1": step / 200, "support": 7}}}


def attempt(run: RunFolder, resumed: int, until: int, last_scored: bool = True, final: bool = False) -> None:
    """One attempt's life: from the step resumed to `until`, scored now and then, the last step perhaps not."""
    folder = run.new_attempt()
    log = EventLog(folder.events(0))
    log.write("started", rank=0, world_size=1, pid=1, host="n")
    log.resumed(resumed)
    stream = RunStream.open(run, folder, resumed)
    if resumed and resumed % EVALUATE_EVERY == 0 and not stream.has(resumed, "validation"):
        score(log, stream, resumed, "validation")
    for step in range(resumed + 1, until + 1):
        event = step_event(step)
        log.step(event)
        stream.step(event)
        if step % EVALUATE_EVERY == 0 and (step < until or last_scored):
            score(log, stream, step, "validation")
    if final:
        score(log, stream, until, "test")
    log.close()
    stream.close()


def score(log: EventLog, stream: RunStream, step: int, split: str) -> None:
    log.scalars(step, split, scores(step))
    stream.scalars(step, split, scores(step))


def metric_lines(run: RunFolder) -> list[dict]:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIME_FIELDS} for line in lines]


def curves(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    board = event_accumulator.EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    board.Reload()
    return {tag: [(point.step, point.value) for point in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


def timeless_curves(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    return {tag: points for tag, points in curves(run).items() if tag.split("/")[1] not in TIME_FIELDS}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = RunFolder(tmp_path_factory.mktemp("whole"))
    attempt(run, 0, STEPS, final=True)
    return run


@st.composite
def lives(draw):
    """(resumed, until, last step scored) of each attempt: it resumes from any step that the one before reached."""
    reached, found = 0, []
    for _ in range(draw(st.integers(0, 4))):
        resumed = draw(st.integers(0, reached))
        until = draw(st.integers(resumed, STEPS))
        found.append((resumed, until, draw(st.booleans())))
        reached = until
    return [*found, (draw(st.integers(0, reached)), STEPS, True)]


@given(story=lives())
@settings(max_examples=30, deadline=None)
def test_killed_anywhere_the_files_are_those_of_an_uninterrupted_run(tmp_path_factory, uninterrupted, story):
    run = RunFolder(tmp_path_factory.mktemp("killed"))
    for number, (resumed, until, last_scored) in enumerate(story, start=1):
        attempt(run, resumed, until, last_scored, final=number == len(story))
    assert run.samples.read_bytes() == uninterrupted.samples.read_bytes()
    assert verify_chain(run.samples) is None
    assert metric_lines(run) == metric_lines(uninterrupted)
    assert timeless_curves(run) == timeless_curves(uninterrupted)
    assert len(event_files(run)) == 1
    assert not list(run.root.rglob(".*"))


def test_lines_are_what_the_contract_says(uninterrupted):
    first, *_, last_step, last = [json.loads(line) for line in uninterrupted.metrics.read_text().splitlines()]
    names = ["loss", "learning_rate", "grad_norm", "tokens", "samples", "seconds", "tokens_per_second"]
    assert list(first) == ["step", "split", *names]
    assert (first["step"], first["split"], first["loss"], first["tokens"]) == (1, "train", 1.0, 51)
    assert (last_step["step"], last_step["split"]) == (STEPS, "train")
    assert last == {"step": STEPS, "split": "test", "loss": 1.5 / STEPS, "f1": 0.14} | {
        "f1/Disease": 0.07,
        "support/Disease": 7,
    }
    third = json.loads(uninterrupted.metrics.read_text().splitlines()[2])
    assert third["grad_norm"] == "inf"


def test_tensorboard_has_each_step_once_and_its_tags(uninterrupted):
    found = curves(uninterrupted)
    assert set(found) == {
        *(f"train/{name}" for name in ("loss", "learning_rate", "grad_norm", "seconds", "tokens_per_second")),
        *(f"{split}/{name}" for split in ("validation", "test") for name in ("loss", "f1", "f1/Disease")),
    }
    assert [step for step, _ in found["train/loss"]] == list(range(1, STEPS + 1))
    assert found["validation/f1"] == [(step, pytest.approx(step / 100)) for step in (4, 8, 12)]


def event_files(run: RunFolder) -> list[Path]:
    """Those that hold anything: beside it lies at most the one before, emptied."""
    found = sorted(run.tensorboard.iterdir())
    assert len(found) <= 2 and not [path for path in found[:-1] if path.stat().st_size]
    return found[-1:]


def records(run: RunFolder) -> list[Event]:
    (path,) = event_files(run)
    return [Event.FromString(raw) for raw in RawEventFileLoader(str(path)).Load()]


def is_train(event: Event) -> bool:
    return any(value.tag == "train/loss" for value in event.summary.value)


def test_one_monotone_file_that_starts_with_start_at_step_0_and_keeps_wall_times(tmp_path):
    run = RunFolder(tmp_path)
    attempt(run, 0, 9)
    before = {event.step: event.wall_time for event in records(run) if is_train(event) and event.step < 7}
    attempt(run, 7, 11)
    events = records(run)
    assert events[0].file_version == "brain.Event:2"
    assert (events[1].session_log.status, events[1].step) == (SessionLog.START, 0)
    assert not [event for event in events[2:] if event.HasField("session_log") or event.HasField("file_version")]
    assert all(one.step <= other.step for one, other in pairwise(events))
    assert {event.step: event.wall_time for event in events if is_train(event) and event.step < 7} == before


@pytest.mark.parametrize("backend", [event_accumulator, plugin_event_accumulator])
def test_a_reader_that_follows_through_resumes_keeps_no_stale_point(tmp_path, backend):
    run = RunFolder(tmp_path)
    attempt(run, 0, 9)
    board = backend.EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0, "tensors": 0})

    def steps(tag: str) -> list[int]:
        board.Reload()
        points = board.Scalars(tag) if backend is event_accumulator else board.Tensors(tag)
        return [point.step for point in points]

    assert (steps("train/loss"), steps("validation/f1")) == (list(range(1, 10)), [4, 8])
    for resumed, until in ((2, 5), (3, 4), (4, 8)):
        attempt(run, resumed, until)
        assert steps("train/loss") == list(range(1, until + 1))
        assert steps("validation/f1") == [step for step in (4, 8) if step <= until]


def test_names_of_event_files_only_ever_go_up(tmp_path):
    run = RunFolder(tmp_path)
    names = []
    for _ in range(4):
        attempt(run, 0, 1)
        names += [path.name for path in event_files(run)]
    assert names == sorted(set(names)) and len(names) == 4


def test_stitching_alone_needs_no_attempt_and_takes_torn_and_empty_attempts(tmp_path):
    run = RunFolder(tmp_path)
    assert list(stitch(run).events()) == [] and stitch(run).started is None
    attempt(run, 0, 6)
    torn = run.attempts()[0].events(0)
    torn.write_bytes(torn.read_bytes()[:-9])
    run.new_attempt()
    with EventLog(run.new_attempt().events(0)) as log:
        log.resumed(3)
    stitched = stitch(run)
    assert [event.step for event in stitched.events()] == [1, 2, 3]
    attempt(run, 3, 5)
    events = list(stitch(run).events())
    assert [event.step for event in events if isinstance(event, StepEvent)] == [1, 2, 3, 4, 5]
    assert [event.step for event in events if isinstance(event, ScalarsEvent)] == [4]
    assert stitch(run).missing() == ()


def test_steps_that_no_file_holds_are_told_and_break_the_chain(tmp_path):
    run = RunFolder(tmp_path)
    attempt(run, 0, 4)
    attempt(run, 4, 8)
    run.attempts()[0].events(0).unlink()
    attempt(run, 7, 9)
    assert stitch(run).missing() == ((1, 4),)
    problem = verify_chain(run.samples)
    assert problem is not None and problem.where.endswith("samples.jsonl:1")
    assert "the step must be 1, but is 5" in problem.what


def test_damaged_events_refuse_and_leave_the_files_as_they_were(tmp_path):
    run = RunFolder(tmp_path)
    attempt(run, 0, 4)
    events = run.attempts()[0].events(0)
    lines = events.read_text().splitlines(keepends=True)
    events.write_text("".join([*lines[:4], "x\n", *lines[4:]]))
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    with pytest.raises(RunFailed, match=r"attempts/0001/events-rank-0\.jsonl:5"):
        RunStream.open(run, run.new_attempt(), 4)
    assert {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()} == before


def test_steps_out_of_order_are_refused(tmp_path):
    run = RunFolder(tmp_path)
    with RunStream.open(run, run.new_attempt(), 0) as stream:
        stream.step(step_event(1))
        for step in (1, 3):
            with pytest.raises(ValueError, match=f"step must be 2, but is {step}"):
                stream.step(step_event(step))
        for step in (0, 2):
            with pytest.raises(ValueError, match=f"must be of step 1, but are of step {step}"):
                stream.scalars(step, "validation", {"f1": 0.5})
    assert len(run.samples.read_text().splitlines()) == 1


def test_a_split_scored_twice_at_one_step_keeps_the_first(tmp_path):
    run = RunFolder(tmp_path)
    attempt(run, 0, 4)
    folder = run.new_attempt()
    with RunStream.open(run, folder, 4) as stream:
        assert stream.has(4, "validation") and not stream.has(4, "test") and not stream.has(3, "validation")
        stream.scalars(4, "validation", {"f1": 0.0})
        stream.flush()
    assert [line["f1"] for line in metric_lines(run) if line["split"] == "validation"] == [0.04]


def test_totals_go_over_attempts(tmp_path):
    run = RunFolder(tmp_path)
    attempt(run, 0, 5)
    with RunStream.open(run, run.new_attempt(), 3) as stream:
        stream.step(step_event(4))
        totals = stream.totals
    assert (totals.steps, totals.samples, totals.tokens) == (4, 12, sum(50 + step for step in (1, 2, 3, 4)))
    assert totals.seconds > 0


def test_flat_scores():
    nested = {"f1": 0.5, "loss": "nan", "types": {"Gene": {"f1": 0.25, "support": 3}}}
    flat = flat_scores(nested)
    assert str(flat.pop("loss")) == "nan"
    assert flat == {"f1": 0.5, "f1/Gene": 0.25, "support/Gene": 3}
    with pytest.raises(ValueError, match="could not convert"):
        flat_scores({"f1": "high"})


CLASSES = {
    "accuracy": 0.75,
    "loss": 0.5,
    "classes": {"yes": {"f1": 0.8, "support": 3}, "no": {"f1": 0.5, "support": 1}},
    "confusion": [[2, 1], [0, 1]],
}


def test_scores_of_classes_lie_flat_by_name():
    assert flat_scores(CLASSES) == {
        "accuracy": 0.75,
        "loss": 0.5,
        **{"f1/yes": 0.8, "support/yes": 3, "f1/no": 0.5, "support/no": 1},
        **{"confusion/yes/yes": 2, "confusion/yes/no": 1, "confusion/no/yes": 0, "confusion/no/no": 1},
    }


def test_scores_of_classes_pass_through_a_resume_and_only_scalars_are_charted(tmp_path):
    run = RunFolder(tmp_path)
    folder = run.new_attempt()
    with EventLog(folder.events(0)) as log:
        log.resumed(0)
        log.step(step_event(1))
        log.scalars(1, "validation", CLASSES)
    with RunStream.open(run, run.new_attempt(), 1):
        pass
    assert metric_lines(run)[-1] == {"step": 1, "split": "validation", **flat_scores(CLASSES)}
    assert {tag for tag in curves(run) if tag.startswith("validation")} == {
        f"validation/{name}" for name in ("accuracy", "loss", "f1/yes", "f1/no")
    }


WRITER = """
import sys; from pathlib import Path
from biodist.metrics.events import EventLog, StepEvent
from biodist.metrics.stream import RunStream
from biodist.run.folder import RunFolder
run = RunFolder(Path(sys.argv[1])); folder = run.new_attempt()
log = EventLog(folder.events(0)); log.resumed(0); stream = RunStream.open(run, folder, 0)
for step in range(1, 10**9):
    event = StepEvent(step, 1, 1, "0" * 64, 1.0, 0.1, 1.0, 9, 1, 5, 0.1)
    log.step(event); stream.step(event)
"""


def test_kill_9_in_the_middle_of_writing(tmp_path):
    run = RunFolder(tmp_path)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(run.root)])
    try:
        deadline = time.monotonic() + 60
        while not (run.samples.exists() and run.samples.stat().st_size > 20_000):
            assert writer.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    reached = sum(isinstance(event, StepEvent) for event in stitch(run).events())
    attempt(run, reached - 5, reached + 3)
    assert verify_chain(run.samples) is None
    assert len(run.samples.read_text().splitlines()) == reached + 3
    assert [step for step, _ in curves(run)["train/loss"]] == list(range(1, reached + 4))


def test_import_is_light():
    code = (
        "import sys, biodist.metrics.stream, biodist.metrics.scores\n"
        "heavy = {'torch', 'transformers', 'tensorflow', 'datasets', 'sklearn', 'evaluate'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_scores_of_corpora_lie_flat_by_name():
    scores = {"f1": 0.5, "macro_f1": 0.6, "corpora": {"ncbi": {"f1": 0.9, "types": {"Disease": {"f1": 0.9}}}}}
    assert flat_scores(scores) == {"f1": 0.5, "macro_f1": 0.6, "ncbi.f1": 0.9}
