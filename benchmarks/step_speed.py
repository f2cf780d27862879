"""Seconds of one training step, unpadded rows against the padded batch of plain PyTorch, measured in turns.

usage: step_speed.py MODEL_FOLDER IOB_FILE [--steps N] [--threads N] [--batch N] [--variants padded-fp32,rows-fp32,…]

Every variant has its own model and optimizer and sees the same sentences; variants take turns, step by step, so that
whatever else the machine does falls on all of them. One JSON line a variant: milliseconds of a step (median and lower
quartile by the wall clock, median by the processor's), real tokens a second, and how much faster than the padded
variants (medians of the ratios of steps measured side by side). On a machine that others use, threads that wait for
each other spin: OMP_WAIT_POLICY=passive keeps that out of the processor's figure.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification
from transformers.utils import logging

from biodist.training.batch import IGNORED, Batch, collate, forward_kwargs
from biodist.training.unpadded import position_offset, use_unpadded

VARIANTS = ("padded-fp32", "rows-fp32", "padded-bf16", "rows-bf16")


@dataclass(frozen=True)
class Sentence:
    input_ids: NDArray[np.int32]
    labels: NDArray[np.int16]


@dataclass
class Variant:
    """One way to do a step, with a model of its own."""

    name: str
    model: nn.Module
    offset: int
    optimizer: torch.optim.Optimizer
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, folder: Path, labels: int, fused: bool) -> Variant:
        torch.manual_seed(42)
        model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=labels).train()
        if name.startswith("rows"):
            use_unpadded(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=fused or None)
        return cls(name, model, position_offset(model), optimizer)

    def batch(self, sentences: list[Sentence], pad_id: int) -> Batch:
        padding: Literal["none", "batch"] = "none" if self.name.startswith("rows") else "batch"
        return collate(sentences, range(len(sentences)), padding=padding, pad_id=pad_id, position_offset=self.offset)

    def step(self, sentences: list[Sentence], pad_id: int) -> float:
        wall, processor = time.perf_counter(), time.process_time()
        batch = self.batch(sentences, pad_id)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.name.endswith("bf16")):
            logits: Tensor = self.model(**forward_kwargs(batch)).logits
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)
        self.tokens.append(batch.tokens)
        return loss.item()


def read(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Words and tags of each sentence of an IOB file."""
    for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
        columns = [line.split("\t") for line in paragraph.splitlines() if line.strip()]
        if columns:
            yield [c[0] for c in columns], [c[-1] for c in columns]


def sentences_of(folder: Path, path: Path) -> tuple[list[Sentence], int, int]:
    """The tokenised sentences, the number of labels, the padding token."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    raw = list(read(path))
    ids = {tag: i for i, tag in enumerate(sorted({tag for _, tags in raw for tag in tags}))}
    sentences = []
    for words, tags in raw:
        encoding = tokenizer.encode(words, is_pretokenized=True)
        places = encoding.word_ids
        labels = [IGNORED if w is None or (i and places[i - 1] == w) else ids[tags[w]] for i, w in enumerate(places)]
        sentences.append(Sentence(np.array(encoding.ids, np.int32), np.array(labels, np.int16)))
    return sentences, len(ids), tokenizer.token_to_id("[PAD]") or 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--plain-adamw", action="store_true", help="the padded variants use AdamW's default loop")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    sentences, labels, pad_id = sentences_of(arguments.model, arguments.data)
    names = arguments.variants.split(",")
    variants = [
        Variant.of(name, arguments.model, labels, name.startswith("rows") or not arguments.plain_adamw)
        for name in names
    ]
    chosen = np.random.default_rng(42)
    warm_up = 3
    for step in range(warm_up + arguments.steps):
        drawn = [sentences[i] for i in chosen.choice(len(sentences), arguments.batch, replace=False)]
        # Who goes first changes: the one after a slow step finds other caches.
        for variant in variants[step % len(variants) :] + variants[: step % len(variants)]:
            variant.step(drawn, pad_id)
    for variant in variants:
        for figures in (variant.wall, variant.processor, variant.tokens):
            del figures[:warm_up]
    for variant in variants:
        print(json.dumps(report(variant, {v.name: v for v in variants}, arguments.threads)))


def report(variant: Variant, variants: dict[str, Variant], threads: int) -> dict[str, object]:
    """One line of figures."""
    line: dict[str, object] = {
        "variant": variant.name,
        "threads": threads,
        "steps": len(variant.wall),
        "step_ms": round(median(variant.wall) * 1e3, 1),
        "step_ms_lower_quartile": round(float(np.quantile(variant.wall, 0.25)) * 1e3, 1),
        "processor_ms": round(median(variant.processor) * 1e3, 1),
        "tokens_per_second": round(sum(variant.tokens) / sum(variant.wall)),
    }
    for base in ("padded-fp32", "padded-bf16"):
        if base in variants and base != variant.name:
            other = variants[base]
            pairs = zip(other.wall, variant.wall, strict=True), zip(other.processor, variant.processor, strict=True)
            wall, processor = (round(median(a / b for a, b in pair), 2) for pair in pairs)
            line[f"times_{base}"], line[f"times_{base}_processor"] = wall, processor
    return line


if __name__ == "__main__":
    main()
