"""Whether a job is warned early enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biodist.config.profile import Profile
from biodist.run.folder import RunFolder
from launch.slurm.grace import grace_notice, measured_pace


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """One attempt: steps of 2 s, one of 30 s, saves of 5 s and 20 s."""
    run = RunFolder.prepare(tmp_path / "run")
    attempt = run.new_attempt()
    steps = [{"kind": "step", "step": n, "seconds": 30.0 if n == 3 else 2.0} for n in range(1, 101)]
    saves = [
        {"kind": "saved", "step": step, "seconds": seconds, "stall_seconds": 0.1}
        for step, seconds in ((50, 5.0), (100, 20.0))
    ]
    attempt.events(0).write_text("".join(json.dumps(event) + "\n" for event in [*steps, *saves]))
    run.new_attempt()  # one that has measured nothing yet
    return run


def profile(lead: int, grace: int | None) -> Profile:
    return Profile.model_validate(
        {
            "name": "p",
            "partition": "low",
            "memory_gb": 4,
            "time_limit_min": 60,
            "signal_lead_s": lead,
            "grace_s": grace,
        }
    )


def test_the_pace_is_that_of_recent_steps_and_the_longest_save(run: RunFolder) -> None:
    pace = measured_pace(run)
    assert pace is not None
    assert (pace.step_s, pace.save_s, pace.needed_s) == (2.0, 20.0, 22.0)


def test_enough_time_says_nothing(run: RunFolder) -> None:
    assert list(grace_notice(run, profile(lead=30, grace=30))) == []


def test_too_little_says_what_to_set(run: RunFolder) -> None:
    lead, grace = grace_notice(run, profile(lead=15, grace=10))
    assert "a step (2.0 s) and a save (20.0 s) of this run take 22.0 s" in lead
    assert "warned only 15 s before its time limit" in lead
    assert "set signal_lead_s=44 in profile p" in lead
    assert "partition low leaves a preempted job 10 s" in grace
    assert "checkpoint.every_steps" in grace


def test_nothing_measured_says_nothing(tmp_path: Path) -> None:
    assert list(grace_notice(RunFolder.prepare(tmp_path / "other"), profile(lead=1, grace=1))) == []
