"""Scoring a split over all ranks, each sample exactly once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from biodist.data.store import SampleStore
from biodist.errors import RunFailed
from biodist.metrics.classes import class_scores, label_set_scores
from biodist.metrics.scores import merged_scores
from biodist.tasks.protocol import Classes, Entities, Task
from biodist.training.collator import Collator
from biodist.training.engine import Scorer
from biodist.training.group import Control
from biodist.training.stopping import StopFlag
from biodist.training.watchdog import Watchdog

TOKENS_PER_BATCH = 4096  # a forward pass needs no gradients, so its batches go by tokens, not by micro_batch


def evaluate(
    scorer: Scorer,
    task: Task,
    store: SampleStore,
    collator: Collator,
    control: Control,
    watchdog: Watchdog,
    stop: StopFlag,
) -> dict[str, Any]:
    """Metrics of a split, `loss` among them (mean over targets, of all passes), the same on every rank.

    Goes around DDP's and DeepSpeed's wrappers: they have nothing to add without gradients. A wish to stop ends it
    between two batches (StopAgreed): it is done again by the next attempt.
    """
    device = next(scorer.parameters()).device
    mine, rounds = _deal(store, control.rank, control.world_size)
    predicted: dict[int, np.ndarray] = {}
    loss_sum = 0.0
    scorer.eval()
    with torch.no_grad():
        for number in range(rounds):
            watchdog.beat(f"evaluating batch {number + 1} of {rounds}")
            stop.heed(control)
            filler = number >= len(mine)  # ZeRO-3 may gather weights, in step: every rank runs every round
            windows = mine[number] if not filler else np.zeros(1, dtype=np.int64)
            batch = collator.collate(store, windows).to(device)
            logits = scorer(batch)
            if filler:
                continue
            loss_sum += float(task.loss_sum(logits, batch.labels, batch.weights))
            numbers = batch.windows.tolist()
            said = task.predictions(logits, batch.labels, [store.window(window).owned for window in numbers])
            predicted.update(zip(numbers, said, strict=True))
    scorer.train()
    return _score(task, store, control, predicted, loss_sum)


def _deal(store: SampleStore, rank: int, world_size: int) -> tuple[list[np.ndarray], int]:
    """This rank's batches, and how many the rank with most has: windows by length, cut by tokens, dealt in turn."""
    order = np.argsort(-store.lengths, kind="stable")
    batches: list[np.ndarray] = []
    at = 0
    while at < len(order):
        size = max(1, TOKENS_PER_BATCH // int(store.lengths[order[at]]))
        batches.append(order[at : at + size])
        at += size
    return batches[rank::world_size], -(-len(batches) // world_size)


def _score(
    task: Task, store: SampleStore, control: Control, predicted: dict[int, np.ndarray], loss_sum: float
) -> dict[str, Any]:
    parts = control.gather((predicted, loss_sum))
    metrics: dict[str, Any] | None = None
    if control.rank == 0:
        together = {window: said for part, _ in parts for window, said in part.items()}
        counted = sum(len(part) for part, _ in parts)
        if counted != store.windows or len(together) != store.windows:
            raise RunFailed(f"evaluation saw {counted} windows, {len(together)} of them different, of {store.windows}")
        metrics = scored(task.decode(store, together))
        metrics["loss"] = sum(loss for _, loss in parts) / max(1, int(store.targets.sum()))
    shared = control.share(metrics)
    assert shared is not None
    return shared


def scored(said: Entities | Classes) -> dict[str, Any]:
    """The scores for what a task says: of entities in several corpora together and by corpus."""
    if isinstance(said, Entities):
        parts = {corpus.name: (corpus.samples, corpus.types) for corpus in said.corpora}
        return dict(merged_scores(said.gold, said.predicted, said.types, parts))
    if said.sets:
        return dict(label_set_scores(said.gold, said.predicted, said.classes))
    return dict(class_scores(said.gold, said.predicted, said.classes))
