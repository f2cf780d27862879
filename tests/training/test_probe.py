"""The probe of memory: what it measures is there, all ranks go on with the smallest number, and say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biodist.data.indexing import build_index
from biodist.data.store import SampleStore
from biodist.plan.decide import decide, place
from biodist.plan.machine import Machine
from biodist.plan.plan import ModelPlan, Plan, read_plan, write_plan
from biodist.plan.shape import scratch_shape
from biodist.run.folder import RunFolder
from biodist.run.records import AttemptRecord, Result
from biodist.tasks.choice import task_of
from biodist.training import probe
from biodist.training.encoder import build_model, collator_of
from biodist.training.group import Control
from biodist.training.probe import peak_growth, probed, room
from launch.local import run_attempt

CPU = torch.device("cpu")
MEGA = 2**20


@dataclass(frozen=True)
class Peers(Control):
    """This rank among others that found what they found."""

    others: tuple[probe.Probe, ...] = ()

    def gather(self, value: Any) -> list[Any]:
        return [value, *self.others]


@dataclass(frozen=True)
class Built:
    plan: Plan
    model: Any
    store: SampleStore

    def probed(self, plan: Plan, *others: probe.Probe) -> Plan:
        control = Peers(0, 1 + len(others), others=others)
        return probed(plan, self.model, self.store, collator_of(plan, self.model), control)


@pytest.fixture(scope="module")
def built(plans: Callable[..., Plan]) -> Built:
    plan = plans(1, micro_batch="auto", global_batch=58)
    assert plan.batch.micro_batch_rule in probe.PROBED and plan.batch.micro_batch > 20
    return Built(plan, build_model(plan, task_of(plan)), SampleStore.open(plan.data, "train"))


def test_growth_is_what_was_taken_at_the_fullest() -> None:
    def take() -> None:
        first = torch.ones(64 * MEGA // 4)
        del first
        second = torch.ones(96 * MEGA // 4)
        del second

    grown = peak_growth(take, CPU)
    # The kernel counts resident pages in lots, a process at a time: a few hundred kilobytes may be missing.
    assert grown is not None and 95 * MEGA <= grown < 104 * MEGA
    nothing = peak_growth(lambda: None, CPU)
    assert nothing is not None and nothing < 4 * MEGA


def test_where_nothing_can_be_measured_the_plan_stands(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "CLEAR_REFS", probe.STATUS)  # which nobody may write
    ran: list[int] = []
    assert peak_growth(lambda: ran.append(1), CPU) is None and ran == [1]
    assert built.probed(built.plan) is built.plan


def test_a_plan_that_fits_stands(built: Built) -> None:
    before = {name: value.clone() for name, value in built.model.state_dict().items()}
    built.model.eval()
    assert built.probed(built.plan) is built.plan
    assert all(torch.equal(value, before[name]) for name, value in built.model.state_dict().items())
    assert all(parameter.grad is None for parameter in built.model.parameters()) and not built.model.training


def test_the_smallest_rank_decides_and_the_plan_follows(built: Built) -> None:
    planned = built.plan.batch.micro_batch
    smaller = built.probed(built.plan, probe.Probe(planned, 1), probe.Probe(7, None))
    assert (smaller.batch.micro_batch, smaller.batch.micro_batch_rule) == (7, "probe")
    assert smaller.recipe == built.plan.recipe and smaller.batch.total_steps == built.plan.batch.total_steps
    assert smaller.memory.activations < built.plan.memory.activations
    assert smaller.notices[-1] == (
        f"train.micro_batch: 7 windows instead of {planned}, because a probe of the longest ones took more memory than "
        "a process has; the global batch is unchanged"
    )


def test_what_was_measured_is_scaled_to_the_room(built: Built) -> None:
    """By tokens: the windows that are left are the longest ones."""
    planned = built.plan.batch.micro_batch
    lengths = sorted(built.store.lengths.tolist(), reverse=True)[:planned]
    found = built.probed(built.plan, probe.Probe(planned, 4 * room(built.plan))).batch.micro_batch
    most = sum(lengths) * probe.SHARE / 4
    assert sum(lengths[:found]) <= most < sum(lengths[: found + 1]) and found < planned * probe.SHARE / 4
    hopeless = probe.Probe(planned, 10**6 * room(built.plan))
    assert built.probed(built.plan, hopeless).batch.micro_batch == 1


def test_a_real_shortage_is_halved(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward passes of more than ten windows fail as torch's allocator does."""
    tried: list[int] = []
    real = probe._pass

    def narrow(scorer: Any, store: SampleStore, collator: Any, windows: np.ndarray) -> None:
        tried.append(len(windows))
        if len(windows) > 10:
            torch.empty(2**60)
        real(scorer, store, collator, windows)

    monkeypatch.setattr(probe, "_pass", narrow)
    planned = built.plan.batch.micro_batch
    found = built.probed(built.plan).batch.micro_batch
    assert found <= 10 and tried == [1, *(planned >> n for n in range((planned // 10).bit_length() + 1))][: len(tried)]
    assert tried[-1] == found


@pytest.mark.parametrize("rule", ["recipe", "kept", "smaller", "probe"])
def test_a_number_that_is_settled_is_not_probed(built: Built, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_probe", lambda *_: pytest.fail("it was probed"))
    settled = built.plan.model_copy(update={"batch": built.plan.batch.model_copy(update={"micro_batch_rule": rule})})
    assert built.probed(settled) is settled


def test_weights_that_do_not_fit_whole_are_not_probed(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under zero3 on GPUs: the probe would fail where training does not."""
    monkeypatch.setattr(probe, "_probe", lambda *_: pytest.fail("it was probed"))
    machine = built.plan.machine.model_copy(update={"memory_gb_per_process": 1e-4})
    tight = built.plan.model_copy(update={"machine": machine})
    assert built.probed(tight) is tight


def wide_plan(plans: Any) -> Plan:
    """A model whose activations are worth measuring, on two processes."""
    recipe = plans.recipe(micro_batch="auto", global_batch=58, max_steps=2)
    scratch = recipe.model.scratch.model_copy(update={"hidden_size": 256, "intermediate_size": 1024})
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"scratch": scratch})})
    index = build_index(recipe, None, plans.cache)
    shape = scratch_shape(scratch, index.vocab_size, len(index.labels))
    machine = Machine(host="here", processor="processor", cores=2, memory=16 * 10**9)
    return decide(recipe, index, ModelPlan(folder=None, shape=shape), place(machine, 2))


def test_an_attempt_goes_on_with_what_was_found(plans: Any, tmp_path: Path) -> None:
    """Real ranks, and a plan whose estimate is a quarter of the truth, at a place that has just what it asks for."""
    plan = wide_plan(plans)
    memory = plan.memory.model_copy(update={"activations": plan.memory.activations // 4, "ending": 0})
    machine = plan.machine.model_copy(update={"memory_gb_per_process": memory.total / 10**9})
    tight = plan.model_copy(update={"machine": machine, "memory": memory})
    attempt = RunFolder.prepare(tmp_path / "run").new_attempt()
    write_plan(tight, attempt.plan)
    outcome = run_attempt(attempt, tight, "")
    assert outcome.exit_code == 0, attempt.log(0).read_text()
    found = read_plan(attempt.plan).batch
    assert found.micro_batch_rule == "probe" and 1 <= found.micro_batch <= plan.batch.micro_batch // 2
    record = AttemptRecord.load(attempt.record)
    assert (record.micro_batch, record.micro_batch_rule) == (found.micro_batch, "probe")
    assert Result.load(attempt.run.result).micro_batches == (found.micro_batch,)
