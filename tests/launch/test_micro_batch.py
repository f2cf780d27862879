"""A run's micro-batch: frozen once it was found, halved when memory ran out, given back to whoever names a number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from biodist.plan.plan import Plan, write_plan
from biodist.run.folder import AttemptFolder, RunFolder
from biodist.run.records import Failure
from launch.attempt_record import begin_record, end_record
from launch.micro_batch import can_shrink, carried_on, out_of_memory_advice

pytestmark = pytest.mark.timeout(60)
Kind = Literal["memory", "error"]
Add = Callable[..., AttemptFolder]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.prepare(tmp_path / "run")


@pytest.fixture
def add(run: RunFolder) -> Add:
    """Adds an attempt of a plan that failed, or was stopped where no kind is given, in some phase."""

    def build(plan: Plan, kind: Kind | None = None, phase: str = "training") -> AttemptFolder:
        attempt = run.new_attempt()
        write_plan(plan, attempt.plan)
        begin_record(attempt, plan)
        attempt.events(0).write_text(json.dumps({"kind": "phase", "name": phase, "time": 1.0}) + "\n")
        failure = Failure(rank=1, time=2.0, kind=kind, message="no room") if kind else None
        end_record(attempt, "failed" if kind else "stopped", failure)
        return attempt

    return build


@pytest.fixture
def auto(plans: Callable[..., Plan]) -> Plan:
    """Decided anew, as every attempt's plan is at first."""
    return plans(2, strategy="zero2", micro_batch="auto")


def micro_batch(plan: Plan) -> tuple[int, str]:
    return plan.batch.micro_batch, plan.batch.micro_batch_rule


def test_a_first_attempt_takes_what_is_planned(run: RunFolder, auto: Plan) -> None:
    assert carried_on(auto, run) is auto
    assert micro_batch(auto) == (5, "step")


def test_it_is_halved_until_nothing_is_left(run: RunFolder, add: Add, auto: Plan) -> None:
    said: list[Any] = []
    plan = carried_on(auto, run)
    while can_shrink(add(plan, "memory")):
        plan = carried_on(auto, run)
        said.append(micro_batch(plan))
    assert said == [(2, "smaller"), (1, "smaller")]
    assert plan.batch.global_batch == auto.batch.global_batch and plan.recipe == auto.recipe
    assert plan.deepspeed is not None and plan.deepspeed["train_micro_batch_size_per_gpu"] == 1
    assert plan.memory.activations < auto.memory.activations
    assert plan.notices[-1] == (
        "train.micro_batch: 1 window instead of 2, because attempt 2 ran out of memory; the global batch is unchanged"
    )
    assert micro_batch(carried_on(auto, run)) == (1, "kept")


def test_it_is_kept_through_stops_and_other_failures(run: RunFolder, add: Add, auto: Plan) -> None:
    add(auto, "memory")
    add(carried_on(auto, run))
    add(carried_on(auto, run), "error")
    assert micro_batch(carried_on(auto, run)) == (2, "kept")


def test_a_place_that_allows_less_decides(run: RunFolder, add: Add, auto: Plan, plans: Callable[..., Plan]) -> None:
    add(auto)
    four = plans(4, strategy="zero2", micro_batch="auto")
    assert four.batch.micro_batch < auto.batch.micro_batch
    assert carried_on(four, run) is four
    one = plans(1, strategy="zero2", micro_batch="auto")
    assert one.batch.micro_batch > auto.batch.micro_batch
    assert micro_batch(carried_on(one, run)) == (5, "kept")


def test_whoever_names_another_number_has_it(run: RunFolder, add: Add, plans: Callable[..., Plan]) -> None:
    eight, six = plans(2, micro_batch=8), plans(2, micro_batch=6)
    add(eight)
    assert carried_on(eight, run) is eight
    add(eight, "memory")
    add(carried_on(eight, run))
    assert micro_batch(carried_on(eight, run)) == (4, "kept")  # the number that ran out is not tried again
    assert carried_on(six, run) is six


@pytest.mark.parametrize(
    ("kind", "phase", "shrinks"),
    [
        ("memory", "training", True),
        ("memory", "saving", True),
        ("memory", "probing memory", True),
        ("memory", "evaluating", False),
        ("memory", "building the model", False),
        ("error", "training", False),
        (None, "training", False),
    ],
)
def test_only_what_a_micro_batch_takes_is_halved(
    run: RunFolder, add: Add, auto: Plan, kind: Kind | None, phase: str, shrinks: bool
) -> None:
    attempt = add(auto, kind, phase)
    assert can_shrink(attempt) is shrinks
    assert micro_batch(carried_on(auto, run)) == ((2, "smaller") if shrinks else (5, "kept"))
    assert bool(out_of_memory_advice(attempt)) is (kind == "memory")


def test_advice_names_what_is_left(add: Add, plans: Callable[..., Plan]) -> None:
    plain = out_of_memory_advice(add(plans(2, micro_batch=1), "memory"))
    assert "micro-batches of one window" in plain
    assert "model.activation_checkpointing=true, or distributed.strategy=zero3" in plain
    most = out_of_memory_advice(
        add(plans(2, micro_batch=1, strategy="zero3", activation_checkpointing=True), "memory", "evaluating")
    )
    assert "while evaluating" in most and "=" not in most and "Use more GPUs" in most


def test_an_attempt_without_a_record_does_not_shrink(run: RunFolder) -> None:
    assert not can_shrink(run.new_attempt())
