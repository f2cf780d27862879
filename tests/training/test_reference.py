"""Every step's loss is that of a plain loop: one process, padded batches, nothing of the harness but the data."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertForTokenClassification, get_linear_schedule_with_warmup

from biodist.data.order import step_samples
from biodist.data.store import SampleStore
from biodist.plan.plan import Plan
from biodist.training.chance import seed_model
from biodist.training.encoder import encoder_config

pytestmark = pytest.mark.timeout(800)  # above the limits of three groups of processes
WORLDS = (1, 2, 3)
STRATEGIES = ("ddp", "zero1", "zero2", "zero3")
ONE, SEVERAL = 64, 3  # windows a micro-batch: all of a process's part at once, or several passes
STEPS = 50
CLOSE = {1: 1e-5, 2: 1e-4, 3: 1e-4}  # relative

Case = tuple[str, int, str]  # strategy, micro-batch, padding
ALL: tuple[Case, ...] = tuple(product(STRATEGIES, (ONE, SEVERAL), ("none", "batch")))


def reference(plan: Plan) -> tuple[list[float], list[float]]:
    """Losses and gradient norms of each step: mean cross-entropy over the targets of a global batch, clipping, AdamW
    that spares biases and norms its decay, a linear schedule with warm-up."""
    train, batch = plan.recipe.train, plan.batch
    torch.set_num_threads(1)
    seed_model(train.seed)
    config = encoder_config(plan)
    config._attn_implementation = "eager"
    model = BertForTokenClassification(config).train()
    spared = ("bias", "LayerNorm.weight")
    decayed = [p for name, p in model.named_parameters() if not name.endswith(spared)]
    plain = [p for name, p in model.named_parameters() if name.endswith(spared)]
    groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=train.learning_rate, betas=train.betas, eps=train.eps, foreach=False)
    schedule = get_linear_schedule_with_warmup(optimizer, batch.warmup_steps, batch.total_steps)
    store = SampleStore.open(plan.data, "train")
    losses, norms = [], []
    for step in range(1, STEPS + 1):
        _, samples = step_samples(train.seed, plan.data.fingerprint, store.samples, train.global_batch, step)
        input_ids, mask, labels = padded(store, samples)
        logits = model(input_ids=input_ids, attention_mask=mask).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), train.max_grad_norm)))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, norms


def padded(store: SampleStore, samples: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All windows of these samples in one batch: token ids, mask, labels."""
    windows = [store.window(w) for s in samples for w in range(store.first_window[s], store.first_window[s + 1])]
    shape = (len(windows), max(len(window.input_ids) for window in windows))
    input_ids, mask = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, -100)
    for row, window in enumerate(windows):
        size = len(window.input_ids)
        input_ids[row, :size] = torch.tensor(window.input_ids, dtype=torch.int64)
        labels[row, :size] = torch.tensor(window.labels, dtype=torch.int64)
        mask[row, :size] = 1
    return input_ids, mask, labels


def named(case: Case) -> str:
    strategy, micro_batch, padding = case
    return f"{strategy}-{'one' if micro_batch == ONE else 'several'}-{'padded' if padding == 'batch' else 'unpadded'}"


@pytest.fixture(scope="module")
def expected(plans: Callable[..., Plan]) -> tuple[list[float], list[float]]:
    return reference(plans(1))


@pytest.fixture(scope="module")
def expected_bare(plans: Callable[..., Plan]) -> tuple[list[float], list[float]]:
    return reference(plans(1, weight_decay=0.0, max_grad_norm=1e9))


def hold(said: dict[str, Any], expected: tuple[list[float], list[float]], world_size: int) -> None:
    assert said["error"] is None
    assert said["losses"] == pytest.approx(expected[0], rel=CLOSE[world_size], abs=0)
    assert said["norms"] == pytest.approx(expected[1], rel=1e-3)


def test_the_corpus_holds_what_is_hard(plans: Callable[..., Plan], expected: tuple[list[float], list[float]]) -> None:
    """Several windows a sample, a last batch with fewer samples than processes, clipping that bites now and then, and
    a loss that falls: without them the comparison would prove less than it says."""
    plan = plans(3)
    store = SampleStore.open(plan.data, "train")
    assert store.windows > store.samples + 6
    assert store.samples % plan.batch.global_batch == 2
    assert plan.batch.total_steps == STEPS > 6 * plan.batch.steps_per_epoch
    assert any(norm > 1.2 for norm in expected[1]) and any(norm < 0.8 for norm in expected[1])
    assert expected[0][-1] < 0.9 * expected[0][0]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("world_size", WORLDS)
def test_every_step_has_the_loss_of_a_plain_loop(
    chosen_runs: Callable[[int], dict[str, Any]],
    expected: tuple[list[float], list[float]],
    world_size: int,
    strategy: str,
) -> None:
    hold(chosen_runs(world_size)[strategy], expected, world_size)


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_without_weight_decay_and_clipping(
    chosen_runs: Callable[[int], dict[str, Any]], expected_bare: tuple[list[float], list[float]], strategy: str
) -> None:
    hold(chosen_runs(2)[f"{strategy}-bare"], expected_bare, 2)


@pytest.mark.full
@pytest.mark.parametrize("world_size", WORLDS)
def test_every_case_has_the_loss_of_a_plain_loop(
    plans: Callable[..., Plan],
    run_jobs: Callable[..., dict[str, Any]],
    expected: tuple[list[float], list[float]],
    world_size: int,
) -> None:
    """All strategies, both paddings, one and several micro-batches."""
    jobs = [
        {
            "name": named(case),
            "plan": plans(world_size, strategy=case[0], micro_batch=case[1], padding=case[2]),
            "until": STEPS,
        }
        for case in ALL
    ]
    said = run_jobs(jobs, limit_s=700)
    for job in jobs:
        hold(said[job["name"]], expected, world_size)
