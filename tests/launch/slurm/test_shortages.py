"""An attempt that ran out of memory is no failure in a row, until its micro-batch cannot be halved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from biodist.plan.plan import Plan, write_plan
from biodist.run.folder import RunFolder
from biodist.run.records import Failure
from launch.attempt_record import begin_record, end_record
from launch.micro_batch import carried_on
from launch.slurm.comeback import failures_in_a_row

pytestmark = pytest.mark.timeout(60)


def test_only_the_last_of_them_counts(plans: Callable[..., Plan], tmp_path: Path) -> None:
    run, planned = RunFolder.prepare(tmp_path / "run"), plans(2, micro_batch=8)
    counted = []
    for _ in range(5):
        plan = carried_on(planned, run)
        attempt = run.new_attempt()
        write_plan(plan, attempt.plan)
        begin_record(attempt, plan, job="17")
        events = [{"kind": "resumed", "step": 0, "time": 1.0}, {"kind": "phase", "name": "training", "time": 1.0}]
        attempt.events(0).write_text("".join(json.dumps(event) + "\n" for event in events))
        end_record(attempt, "failed", Failure(rank=0, time=2.0, kind="memory", message="no room"))
        counted.append((plan.batch.micro_batch, failures_in_a_row(run)))
    assert counted == [(8, 0), (4, 0), (2, 0), (1, 1), (1, 2)]


def test_a_failure_of_another_kind_counts_beside_them(plans: Callable[..., Plan], tmp_path: Path) -> None:
    run, plan = RunFolder.prepare(tmp_path / "run"), plans(2, micro_batch=8)
    for kind in ("error", "memory", "error"):
        attempt = run.new_attempt()
        write_plan(plan, attempt.plan)
        begin_record(attempt, plan, job="17")
        attempt.events(0).write_text(json.dumps({"kind": "phase", "name": "training", "time": 1.0}) + "\n")
        failure = Failure.model_validate({"rank": 0, "time": 2.0, "kind": kind, "message": "broken"})
        end_record(attempt, "failed", failure)
    assert failures_in_a_row(run) == 2
