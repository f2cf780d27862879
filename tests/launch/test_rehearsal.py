"""What follows from what a rehearsal measured, and where it lives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biodist.errors import UserError
from biodist.plan.plan import Plan, read_plan
from biodist.run.folder import RunFolder
from biodist.run.records import AttemptRecord
from launch.rehearsal.folder import RehearsalFolder
from launch.rehearsal.pace import Seconds, measured, projection

GOLDEN = Path(__file__).parents[1] / "plan" / "golden"


@pytest.fixture
def plan() -> Plan:
    """96 steps, scored after 32, 64 and 96: 100 validation samples; a profile's limit of 1440 min, warned 300 s."""
    return read_plan(GOLDEN / "on-a100x8.json")


def seconds(step: float, start_up: float = 60.0) -> Seconds:
    return Seconds(
        start_up=start_up,
        step_median=step,
        step_p95=step,
        step_mean=step,
        longest_save=30.0,
        save_stall=2.0,
        evaluation=5.0,
    )


def limited(plan: Plan, minutes: int) -> Plan:
    assert plan.profile is not None
    profile = plan.profile.model_copy(update={"time_limit_min": minutes})
    return plan.model_copy(update={"profile": profile})


def test_the_whole_run(plan: Plan) -> None:
    found = projection(plan, seconds(step=10.0), score_samples=50)
    assert (found.steps, found.saves, found.evaluations) == (96, 3, 4)
    # Start-up, steps, what saves hold up, four scorings of twice the slice.
    assert found.seconds == 60 + 96 * 10 + 3 * 2 + 4 * 2 * 5
    assert (found.time_limit_min, found.jobs) == (1440, 1)


@pytest.mark.parametrize(
    ("minutes", "jobs"),
    [
        (18, 1),  # 1,080 s - 60 s: just enough for the 1,006 s of work and scoring
        (17, 2),  # 960 s in a last job, 660 s in one that is asked to stop
        (10, 3),  # 540 s, twice 240 s
        (6, None),  # asked to stop as soon as it has started
    ],
)
def test_jobs_of_a_time_limit(plan: Plan, minutes: int, jobs: int | None) -> None:
    found = projection(limited(plan, minutes), seconds(step=10.0), score_samples=50)
    assert found.jobs == jobs


def test_here_no_job_is_counted(plan: Plan) -> None:
    found = projection(plan.model_copy(update={"profile": None}), seconds(step=10.0), score_samples=50)
    assert (found.time_limit_min, found.jobs) == (None, None)


def test_measured_without_what_warms_up(tmp_path: Path) -> None:
    run = RunFolder.prepare(tmp_path / "run")
    attempt = run.new_attempt()
    AttemptRecord(number=1, outcome="finished", host="h", pid=1, world_size=1, strategy="ddp", started=100.0).save(
        attempt.record
    )
    events = [
        {"kind": "phase", "name": "training", "time": 107.0},
        *({"kind": "step", "step": step, "seconds": 9.0 if step == 1 else 1.0, "time": 110.0} for step in (1, 2, 3)),
        {"kind": "saved", "seconds": 4.0, "stall_seconds": 0.5, "time": 111.0},
        {"kind": "phase", "name": "evaluating", "time": 120.0},
        {"kind": "scalars", "split": "checkpoint", "time": 121.0},
        {"kind": "scalars", "split": "validation", "time": 128.0},
        {"kind": "phase", "name": "training", "time": 128.0},
        {"kind": "phase", "name": "evaluating", "time": 130.0},
        {"kind": "scalars", "split": "validation", "time": 132.0},
    ]
    attempt.events(0).write_text("".join(json.dumps(event) + "\n" for event in events))
    run.new_attempt()  # one that nobody has begun
    found = measured([run])
    assert found.start_up == 7.0
    assert (found.step_median, found.step_p95, found.step_mean) == (1.0, 1.0, 1.0)
    assert (found.longest_save, found.save_stall, found.evaluation) == (4.0, 0.5, 2.0)


def test_nothing_measured(tmp_path: Path, plan: Plan) -> None:
    found = measured([RunFolder(tmp_path / "none")])
    assert set(found.model_dump().values()) == {None}
    assert projection(plan, found, score_samples=50).seconds == 0


def test_it_goes_on_with_its_own_plan_alone(tmp_path: Path, plan: Plan) -> None:
    folder = RehearsalFolder.beside(tmp_path / "run")
    assert folder.root == tmp_path / "run-rehearsal" and not folder.goes_on(plan)
    folder.begin(plan)
    assert folder.goes_on(plan.model_copy(update={"command": ("other", "words")}))
    assert not folder.goes_on(limited(plan, 5))
    folder.verdict.write_text("{}")
    assert not folder.goes_on(plan), "it is over"
    folder.undisturbed.root.mkdir()
    folder.begin(plan)
    assert folder.goes_on(plan) and not folder.undisturbed.root.exists()


def test_nobody_elses_folder_is_taken(tmp_path: Path, plan: Plan) -> None:
    folder = RehearsalFolder.beside(tmp_path / "run")
    folder.root.mkdir()
    (folder.root / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        folder.begin(plan)
    assert (folder.root / "thesis.tex").read_text() == "years"
