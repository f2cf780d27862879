"""The time of a run, part by part: a run that was preempted, killed and left alone for a while."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from biodist.errors import RunFailed
from biodist.report.goodput import goodput, together
from biodist.report.moments import Moment, _moment, moments
from biodist.report.timeline import Stretch, timeline
from biodist.run.records import AttemptRecord

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def disturbed(author: Callable[..., Any]) -> Any:
    """Submitted at 0, runs from 30; preempted at 60; comes back at 90, is killed; goes on by hand at 200."""
    run = author("disturbed")
    run.submit("7", at=0)
    first = [
        (32.0, "started", {}),
        (35.0, "resumed", {"step": 0}),
        run.phase(36, "training"),
        run.made(40, 1),
        run.made(44, 2),
    ]
    first += [
        run.phase(44, "saving"),
        run.phase(46, "training"),
        run.made(50, 3),
        (52.0, "saved", {"step": 2}),
        run.made(56, 4),
    ]
    run.attempt(30, 60, "stopped", first, job="7")
    second = [
        (91.0, "started", {}),
        (93.0, "resumed", {"step": 2}),
        run.phase(93, "training"),
        run.made(97, 3),
        run.made(101, 4),
    ]
    second += [run.phase(101, "evaluating"), run.scored(105, 4, "validation", f1=0.5)]
    second += [run.phase(105, "training"), (108.0, "pace", {"step": 5}), run.made(109, 5)]
    run.attempt(90, None, "running", second, job="7", restart=1)
    third = [(201.0, "started", {}), (203.0, "resumed", {"step": 4}), run.phase(203, "training"), run.made(207, 5)]
    third += [run.phase(207, "evaluating"), run.scored(211, 5, "test", f1=0.5)]
    third += [(214.0, "finished", {"step": 5})]
    run.attempt(200, 215, "finished", third)
    return run


def test_every_second_has_its_part(disturbed: Any) -> None:
    good = goodput(timeline(disturbed.run))
    assert good.seconds == {
        "queue": 30 + 30,  # since the submission; since the preemption
        "starting": 6 + 3 + (3 + 1),
        "training": (8) + 8 + 4,
        "saving": 2 + 3,  # a checkpoint in the first attempt, the model's export in the third
        "lost": (60 - 46) + 4,  # steps 3 and 4 of the first attempt, step 5 of the second
        "evaluating": 4 + 4,
        "idle": 91.0,  # from the second attempt's last word to the third's start
    }
    assert good.wall_s == 215 and (good.steps.kept, good.steps.repeated) == (5, 3)
    assert good.machine_s == 215 - 60 - 91 and good.share == pytest.approx(20 / 64)


def misfits(stretches: Sequence[Stretch], records: Sequence[AttemptRecord], begin: float, end: float) -> list[str]:
    """What is wrong with an account of the time between two moments, by the attempts' own records."""
    found = []
    if sum(stretch.seconds for stretch in stretches) != pytest.approx(end - begin):
        found.append("the parts are not the wall time")
    if any(one.end != after.begin for one, after in pairwise(stretches)):
        found.append("a gap or an overlap")
    for record in records:
        own = sum(stretch.seconds for stretch in stretches if stretch.attempt == record.number)
        if record.ended is not None and own != pytest.approx(record.ended - record.started):
            found.append(f"attempt {record.number} did not last that long")
    return found


def test_the_parts_add_up_and_a_false_account_is_seen(disturbed: Any) -> None:
    line = timeline(disturbed.run)
    whole = (line.attempts, disturbed.start, disturbed.start + 215)
    assert misfits(line.stretches, *whole) == []
    forgotten = [stretch for stretch in line.stretches if stretch.part != "lost"]
    twice = [*line.stretches, line.stretches[-1]]
    longer = [*line.stretches[:-1], replace(line.stretches[-1], end=line.stretches[-1].end + 1)]
    moved = [replace(one, attempt=3) if one.attempt == 1 else one for one in line.stretches]
    for false in (forgotten, twice, longer, moved):
        assert misfits(false, *whole)


def test_an_attempt_that_died_before_a_step_is_lost_whole(author: Callable[..., Any]) -> None:
    run = author("broken")
    run.attempt(0, 10, "failed", [(1.0, "started", {}), run.phase(2, "building the model")])
    assert {part: s for part, s in goodput(timeline(run.run)).seconds.items() if s} == {"lost": 10}


def test_a_run_that_goes_on_is_told_up_to_its_last_event(author: Callable[..., Any]) -> None:
    run = author("going")
    run.attempt(
        0, None, "running", [(1.0, "resumed", {"step": 0}), run.phase(2, "training"), run.made(5, 1), run.made(9, 2)]
    )
    good = goodput(timeline(run.run))
    assert good.wall_s == 9 and good.seconds["lost"] == 0 and good.seconds["training"] == 7


def test_clocks_that_go_back_leave_no_negative_time(author: Callable[..., Any]) -> None:
    run = author("skewed")
    run.attempt(10, 20, "failed", [(5.0, "resumed", {"step": 0}), run.phase(30, "training"), run.made(12, 1)])
    run.attempt(15, 25, "finished", [(16.0, "resumed", {"step": 1}), run.phase(17, "training"), run.made(18, 2)])
    line = timeline(run.run)
    assert all(stretch.seconds > 0 for stretch in line.stretches)
    assert misfits(line.stretches, (), line.stretches[0].begin, line.stretches[-1].end) == []


def test_no_attempt_no_time(author: Callable[..., Any]) -> None:
    line = timeline(author("new").run)
    assert line.stretches == () and line.wall_s == 0
    assert together([]).share is None


def test_both_ways_of_reading_agree(disturbed: Any, tmp_path: Path) -> None:
    log = disturbed.run.attempts()[1].events(0)
    assert moments(log) == [_moment(log, 1, json.loads(line)) for line in log.read_text().splitlines()]
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{"time": 1, "kind": "step", "step": 1, "loss": "nan"}\n\n{"time": 2')
    with pytest.raises(RunFailed, match=r"odd\.jsonl:2: not a JSON line"):
        moments(odd)
    odd.write_text('{"time": 1, "kind": "step", "step": 1}\n{"kind": "step"}\n')
    with pytest.raises(RunFailed, match=r"odd\.jsonl:2: the line is not a whole event"):
        moments(odd)
    odd.write_text('{"time": 1.5, "kind": "step", "step": 1}\n{"time": 2, "ki')
    assert moments(odd) == [Moment(1.5, "step", 1, "")]
    odd.write_text('{"time": 1')
    assert moments(odd) == [] == moments(tmp_path / "missing")
