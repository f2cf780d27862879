"""The Hugging Face Trainer on pairs of sentences, as a person would set it up: dynamic padding, AdamW, one or several
processes.

usage: trainer_pairs.py MODEL_FOLDER PAIRS.jsonl OUT [--batch N] [--steps N] [--lr X] [--bf16] [--group]
                        [--max-length N] [--pretrained]
       torchrun --nproc-per-node 2 trainer_pairs.py … (each process takes --batch pairs)

MODEL_FOLDER has a config.json and a tokenizer; without --pretrained the weights are random. PAIRS has SNLI's layout;
`-` labels are dropped. Each process prints one JSON line: for every step the real tokens it trained on (attention
masks summed as they reach ``training_step``) and when the step was over (seconds of the machine's monotonic clock),
threads, precision, peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

LABELS = ("entailment", "neutral", "contradiction")
SEED = 42


class Counted(Trainer):
    """Counts what reaches a step."""

    tokens: list[int]
    times: list[float]

    def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        self.tokens.append(int(inputs["attention_mask"].sum()))
        return super().training_step(model, inputs, *rest, **named)


class Clock(TrainerCallback):
    """Notes when a step is over."""

    def __init__(self, times: list[float]):
        self._times = times

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._times.append(time.monotonic())


def pairs(path: Path, tokenizer: Any, max_length: int) -> Dataset:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["gold_label"] in LABELS]
    firsts, seconds = [row["sentence1"] for row in rows], [row["sentence2"] for row in rows]
    encoded = dict(tokenizer(firsts, seconds, truncation=True, max_length=max_length))
    encoded["labels"] = [LABELS.index(row["gold_label"]) for row in rows]
    encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
    return Dataset.from_dict(encoded)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--batch", type=int, default=32, help="pairs a step of one process")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--lr", type=float, default=3e-5)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--group", action="store_true", help="grouped by length")
    parser.add_argument("--pretrained", action="store_true")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    set_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    config = AutoConfig.from_pretrained(given.model, num_labels=len(LABELS))
    make = AutoModelForSequenceClassification
    model = make.from_pretrained(given.model, config=config) if given.pretrained else make.from_config(config)
    more: dict[str, Any] = {"train_sampling_strategy": "group_by_length"} if given.group else {}
    on_cpu = not torch.cuda.is_available()
    training = TrainingArguments(
        str(given.out),
        max_steps=given.steps,
        per_device_train_batch_size=given.batch,
        learning_rate=given.lr,
        bf16=given.bf16,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and "RANK" in os.environ else None,
        save_strategy="no",
        report_to="none",
        logging_strategy="no",
        seed=SEED,
        disable_tqdm=True,
        **more,
    )
    collator = DataCollatorWithPadding(tokenizer)
    data = pairs(given.pairs, tokenizer, given.max_length)
    trainer = Counted(model=model, args=training, train_dataset=data, data_collator=collator)
    trainer.tokens, trainer.times = [], []
    trainer.add_callback(Clock(trainer.times))
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if on_cpu else torch.cuda.max_memory_allocated()
    said = {
        "rank": training.process_index,
        "world_size": training.world_size,
        "tokens": trainer.tokens,
        "times": trainer.times,
        "threads": torch.get_num_threads(),
        "precision": "bf16" if given.bf16 else "fp32",
        "weights": str(next(model.parameters()).dtype),
        "parameters": sum(p.numel() for p in model.parameters()),
        "peak_memory_bytes": peak,
    }
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
