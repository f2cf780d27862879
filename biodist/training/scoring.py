"""Scoring an exported model in this process, as an attempt would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig

from biodist.data.store import SampleStore
from biodist.errors import RunFailed
from biodist.plan.plan import read_plan
from biodist.run.folder import RunFolder
from biodist.tasks.choice import task_of
from biodist.training.encoder import collator_of, use_planned_attention
from biodist.training.engine import Scorer
from biodist.training.evaluation import evaluate
from biodist.training.group import Control
from biodist.training.stopping import StopFlag
from biodist.training.watchdog import Watchdog


def score_run(run: RunFolder, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Metrics of ``RUN/model`` on splits that the run has.

    Raises:
        RunFailed: the run's tokenised data is gone.
    """
    plan = read_plan(run.attempts()[-1].plan)
    task = task_of(plan)
    config = AutoConfig.from_pretrained(run.model, local_files_only=True)
    model = task.build(config, str(run.model))
    use_planned_attention(model, plan)
    scorer = Scorer(model, plan)
    if plan.machine.device == "cuda" and torch.cuda.is_available():
        scorer.to("cuda")
    control = Control(0, 1)

    def hung(doing: str) -> None:
        raise RunFailed(doing)

    scores = {}
    with Watchdog(float("inf"), hung) as watchdog:
        for split in splits:
            store = SampleStore.open(plan.data, split)
            scores[split] = evaluate(scorer, task, store, collator_of(plan, model), control, watchdog, StopFlag())
    return scores
