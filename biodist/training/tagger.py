"""A finished run's model as a tagger: sentences in, mentions with scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig

from biodist.config.corpora import views_of
from biodist.data.records import Entity, Record
from biodist.data.tags import iob2_mentions, parse_tag
from biodist.data.tokenizer import load_tokenizer
from biodist.data.views import passes_of
from biodist.data.windows import Window, WordPieces
from biodist.plan.plan import Plan, read_plan
from biodist.run.folder import RunFolder
from biodist.tasks.choice import task_of
from biodist.tasks.joining import SAID
from biodist.tasks.ner import EntityTask
from biodist.training.batch import collate
from biodist.training.encoder import pad_id, use_planned_attention
from biodist.training.engine import Scorer
from biodist.training.evaluation import TOKENS_PER_BATCH
from biodist.training.unpadded import position_offset


@dataclass(frozen=True)
class TaggedSentence:
    """What the model says of one sentence: its mentions, the mean score of each one's words, and of every word the
    probability of the tag that it got."""

    entities: tuple[Entity, ...]
    entity_scores: tuple[float, ...]
    word_scores: tuple[float, ...]


class Tagger:
    """Loads ``RUN/model`` once; `tag` then takes any sentences. All types of the recipe are asked for, at once or in
    turn, as in validation."""

    def __init__(self, run: RunFolder, device: str):
        plan = read_plan(run.attempts()[-1].plan)
        self._plan = plan = _on(plan, device)
        config = AutoConfig.from_pretrained(run.model, local_files_only=True)
        task = task_of(plan)
        assert isinstance(task, EntityTask)
        self._task = task
        model = self._task.build(config, str(run.model))
        use_planned_attention(model, plan)
        self._scorer = Scorer(model, plan).to(device).eval()
        self._device = device
        self._pad_id, self._first_position = pad_id(run.model), position_offset(model)
        self._tags = [parse_tag(tag, "BI") or ("O", "") for tag in plan.data.labels]
        self._pieces = WordPieces(load_tokenizer(run.model))
        data, views = plan.recipe.data, views_of(plan.recipe)
        self._passes = passes_of(data.train[0], data, views, self._pieces, training=False)

    def tag(self, records: Sequence[Record]) -> list[TaggedSentence]:
        """The mentions of each sentence, in order; long ones are cut into windows as in training."""
        windows, answer_of = self._windows(records)
        passes = len(self._passes)
        answers = [np.zeros(len(record.tokens), SAID) for record in records for _ in range(passes)]
        for numbers in _batches(windows):
            for number, said in self._said(windows, numbers):
                answers[answer_of[number]][windows[number].owned] = said
        return [self._sentence(answers[at : at + passes]) for at in range(0, len(answers), passes)]

    def _windows(self, records: Sequence[Record]) -> tuple[list[Window], list[int]]:
        """The windows of every pass of every sentence, and of each the number of its pass, over all sentences."""
        data = self._plan.recipe.data
        self._pieces.learn(word for record in records for word in record.tokens)
        windows: list[Window] = []
        answer_of: list[int] = []
        for answer, (record, one) in enumerate(product(records, self._passes)):
            made = one.windows(record.tokens, [0] * len(record.tokens), self._pieces, data)
            windows += made
            answer_of += [answer] * len(made)
        return windows, answer_of

    def _said(self, windows: Sequence[Window], numbers: Sequence[int]) -> list[tuple[int, NDArray[np.void]]]:
        """Of each window of one batch: its number, and tag and probability of every word it owns."""
        chosen = [windows[number] for number in numbers]
        padding = self._plan.padding
        batch = collate(chosen, numbers, padding=padding, pad_id=self._pad_id, position_offset=self._first_position)
        batch = batch.to(self._device)
        with torch.inference_mode():
            logits = self._scorer(batch)
        order: list[int] = batch.windows.tolist()
        said = self._task.predictions(logits, batch.labels, [windows[number].owned for number in order])
        return list(zip(order, said, strict=True))

    def _sentence(self, answers: Sequence[NDArray[np.void]]) -> TaggedSentence:
        said = self._task.joined(answers)
        scores: NDArray[np.float32] = said["score"]
        found = iob2_mentions([self._tags[tag] for tag in said["tag"]])
        means = tuple(float(scores[each.start : each.end].mean()) for each in found.entities)
        return TaggedSentence(tuple(found.entities), means, tuple(map(float, scores)))


def _on(plan: Plan, device: str) -> Plan:
    """The plan as if it were of this device; fp16 needs a GPU."""
    kind = "cuda" if device.startswith("cuda") else "cpu"
    machine = plan.machine.model_copy(update={"device": kind})
    precision = "bf16" if kind == "cpu" and plan.precision == "fp16" else plan.precision
    return plan.model_copy(update={"machine": machine, "precision": precision})


def _batches(windows: Sequence[Window]) -> list[list[int]]:
    """Numbers of windows by length, cut by tokens."""
    order = sorted(range(len(windows)), key=lambda number: -len(windows[number].input_ids))
    batches, at = [], 0
    while at < len(order):
        size = max(1, TOKENS_PER_BATCH // len(windows[order[at]].input_ids))
        batches.append(order[at : at + size])
        at += size
    return batches
