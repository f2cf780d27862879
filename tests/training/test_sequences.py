"""Texts of several windows: one training, whatever the number of processes and the strategy."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertForSequenceClassification, get_linear_schedule_with_warmup

from biodist.cli.prepare import model_plan
from biodist.config.recipe import Recipe
from biodist.data.indexing import build_index
from biodist.data.order import step_samples
from biodist.data.store import SampleStore
from biodist.plan.decide import decide, place
from biodist.plan.machine import Machine
from biodist.plan.plan import Plan
from biodist.training.chance import seed_model
from biodist.training.encoder import encoder_config

pytestmark = pytest.mark.timeout(500)

CLASSES = ("yes", "no", "maybe")
WORLDS = (1, 2, 3)
STEPS = 12
CASES = {  # strategy, several classes a sample, padding
    "ddp": ("ddp", False, "none"),
    "zero2": ("zero2", False, "none"),
    "zero3": ("zero3", False, "batch"),
    "sets": ("zero2", True, "none"),
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 texts of invented words, every third longer than two windows; with one class, and with none to three."""
    draw = random.Random(5)
    words = ["".join(draw.choices(["ba", "do", "ki", "lu", "me", "no"], k=draw.randint(1, 3))) for _ in range(60)]
    lines = []
    for number in range(45):
        text = " ".join(draw.choices(words, k=draw.randint(50, 80) if number % 3 == 0 else draw.randint(2, 18)))
        sets = draw.sample(CLASSES, draw.randint(0, 3))
        lines.append(json.dumps({"text": text, "label": draw.choice(CLASSES), "sets": sets}))
    path = tmp_path_factory.mktemp("texts") / "train.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def plan_of(texts: Path) -> Callable[..., Plan]:
    """Makes a plan over the texts: ``plan_of(world_size, strategy, sets, padding)``."""

    @cache
    def make(world_size: int, strategy: str, sets: bool, padding: str) -> Plan:
        entry = {"path": str(texts), "format": "jsonl", "columns": {"label": "sets" if sets else "label"}}
        data = {"max_length": 32, "stride": 8, "labels": CLASSES, "multi_label": sets, "train": [entry]}
        scratch = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 120, "max_positions": 64}
        recipe = Recipe.model_validate(
            {
                "name": "texts",
                "task": "classification",
                "model": {"init": "scratch", "dropout": 0.0, "scratch": scratch},
                "data": data,
                "train": {
                    **{"max_steps": 40, "global_batch": 8, "learning_rate": 2e-3, "weight_decay": 0.05},
                    **{"warmup_ratio": 0.1, "micro_batch": 3, "padding": padding},
                },
                "distributed": {"strategy": strategy, "timeout_s": 60},
            }
        )
        index = build_index(recipe, None, texts.parent / "cache")
        machine = Machine(host="here", processor="processor", cores=world_size, memory=8 * 10**9 * world_size)
        return decide(recipe, index, model_plan(recipe, None, index), place(machine, world_size))

    return make


@pytest.fixture(scope="module")
def said(plan_of: Callable[..., Plan], run_jobs: Callable[..., dict[str, Any]]) -> Callable[[int], dict[str, Any]]:
    """What became of every case at one world size."""

    @cache
    def train(world_size: int) -> dict[str, Any]:
        plans = {name: plan_of(world_size, *case) for name, case in CASES.items()}
        return run_jobs([{"name": name, "plan": plan, "until": STEPS} for name, plan in plans.items()], limit_s=240)

    return train


def reference(plan: Plan, weighted: bool = True) -> list[float]:
    """Losses of a plain loop: padded batches, each window's loss over the windows of its sample, over the samples."""
    train, data = plan.recipe.train, plan.recipe.data
    torch.set_num_threads(1)
    seed_model(train.seed)
    config = encoder_config(plan)
    config._attn_implementation = "eager"
    model = BertForSequenceClassification(config).train()
    spared = ("bias", "LayerNorm.weight")
    groups = [
        {"params": [p for n, p in model.named_parameters() if not n.endswith(spared)], "weight_decay": 0.05},
        {"params": [p for n, p in model.named_parameters() if n.endswith(spared)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=train.learning_rate, betas=train.betas, eps=train.eps, foreach=False)
    schedule = get_linear_schedule_with_warmup(optimizer, plan.batch.warmup_steps, plan.batch.total_steps)
    store = SampleStore.open(plan.data, "train")
    losses = []
    for step in range(1, STEPS + 1):
        _, samples = step_samples(train.seed, plan.data.fingerprint, store.samples, train.global_batch, step)
        parts = []
        for sample in samples.tolist():
            windows = [store.window(w).input_ids for w in range(*store.first_window[[sample, sample + 1]].tolist())]
            logits = torch.cat([model(torch.from_numpy(ids.astype(np.int64))[None]).logits for ids in windows])
            gold = store.gold(sample).tolist()
            if data.multi_label:
                target = torch.tensor([float(number in gold) for number in range(len(CLASSES))]).expand_as(logits)
                loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)
            else:
                loss = nn.functional.cross_entropy(logits, torch.tensor(gold * len(windows)), reduction="none")
            parts.append(loss.mean() if weighted else loss.sum())
        total = torch.stack(parts).sum() / len(samples)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), train.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(total.item())
    return losses


@pytest.fixture(scope="module")
def expected(plan_of: Callable[..., Plan]) -> dict[bool, list[float]]:
    """Losses of the plain loop, with one class a sample and with sets."""
    return {sets: reference(plan_of(1, "ddp", sets, "none")) for sets in (False, True)}


def test_the_texts_hold_what_is_hard(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(3, *CASES["sets"])
    store = SampleStore.open(plan.data, "train")
    windows = np.diff(store.first_window)
    assert store.samples == 45 and (windows >= 3).sum() >= 10 and (windows == 1).sum() >= 10
    assert store.samples % plan.batch.global_batch and store.targets.sum() == store.samples
    assert {len(store.gold(sample)) for sample in range(store.samples)} == {0, 1, 2, 3}


@pytest.mark.parametrize("world_size", WORLDS)
def test_every_step_has_the_loss_and_the_samples_of_a_plain_loop(
    said: Callable[[int], dict[str, Any]], expected: dict[bool, list[float]], world_size: int
) -> None:
    """Under every strategy, unpadded and padded, with one class and with sets: a sample counts once."""
    found = said(world_size)
    assert [one["error"] for one in found.values()] == [None] * len(CASES)
    for name, (_, sets, _) in CASES.items():
        assert found[name]["losses"] == pytest.approx(expected[sets], rel=1e-4, abs=0), name
        digests = {1: said(1)[name]["digests"], world_size: found[name]["digests"]}
        assert digests[1] == digests[world_size] and len(digests[1]) == STEPS


def test_a_long_text_that_counted_for_each_window_would_be_seen(
    plan_of: Callable[..., Plan], expected: dict[bool, list[float]]
) -> None:
    """The sabotage of the comparison above: windows of weight 1."""
    plan = plan_of(1, *CASES["ddp"])
    wrong, right = reference(plan, weighted=False), expected[False]
    assert wrong != pytest.approx(right, rel=0.1)
