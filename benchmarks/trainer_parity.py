"""The same optimisation as `transformers.Trainer`: the loss of every step, on the same batches from the same weights.

usage: trainer_parity.py [--steps N]

A slice of the NCBI disease corpus, two epochs of it, fp32, no dropout, batch 16, AdamW, linear warm-up over 10 % of the
steps, clipping at 1.0. ``biodist train`` runs first, unpadded. The Trainer then gets biodist's first weights and its
order of samples, and pads as it always does. Its loss is taken unrounded from `compute_loss`. The samples of each step
are proven equal by the digests in the run's events. Prints one JSON line, then a row of Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from harness import Training, encoder_overrides, read_training, train, training_only
from material import Material, add_arguments, commit_label, material, measured_commit, typed_command
from torch.utils.data import Sampler, SequentialSampler
from transformers import (
    AutoTokenizer,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

from biodist.data.order import step_samples
from biodist.data.store import SampleStore
from biodist.errors import BiodistError, RunFailed
from biodist.metrics.samples import samples_digest
from biodist.plan.plan import Plan
from biodist.tasks.choice import task_of
from biodist.training.encoder import build_model

BATCH = 16
LEARNING_RATE = 2e-4
STEPS_PER_EPOCH = 25  # whole batches: the Trainer's one long epoch is then cut where ours are
EARLY = 10  # steps before rounding has grown


@dataclass(frozen=True)
class Parity:
    """How far two series of losses lie apart, relative to the Trainer's."""

    steps: int
    largest_relative_difference: float
    at_step: int
    largest_of_first_10: float
    first_loss: float
    last_loss: float  # the Trainer's
    last_loss_biodist: float

    @classmethod
    def of(cls, theirs: Sequence[float], ours: Sequence[float]) -> Parity:
        apart = [abs(a - b) / abs(a) for a, b in zip(theirs, ours, strict=True)]
        at = max(range(len(apart)), key=apart.__getitem__)
        return cls(len(apart), apart[at], at + 1, max(apart[:EARLY]), theirs[0], theirs[-1], ours[-1])


class OrderedTrainer(Trainer):
    """A Trainer that takes its samples in the order given and keeps each loss as it is."""

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, **named)
        self.losses: list[float] = []

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        samples: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(samples)

    def compute_loss(self, *given: Any, **named: Any) -> Any:
        loss: Any = super().compute_loss(*given, **named)
        self.losses.append(loss.item())
        return loss


def slice_of(corpus: Path, folder: Path, sentences: int) -> Path:
    """The first sentences of a corpus, in a file of their own."""
    paragraphs = corpus.read_text(encoding="utf-8").split("\n\n")[:sentences]
    path = folder / "slice.tsv"
    path.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    return path


def our_training(given: Material, folder: Path, steps: int) -> Training:
    slice_ = slice_of(given.split("train"), folder, BATCH * STEPS_PER_EPOCH)
    only = training_only(slice_, steps, BATCH, LEARNING_RATE, precision="fp32")
    overrides = [*encoder_overrides(given), *only, "model.dropout=0", "train.warmup_ratio=0.1"]
    return read_training(train(folder / "run", overrides, folder / "log"))


def first_model(plan: Plan) -> PreTrainedModel:
    """The weights that the run began with, under the library's own attention."""
    return build_model(plan.model_copy(update={"padding": "batch"}), task_of(plan))


def ordered_samples(training: Training) -> Iterator[dict[str, list[int]]]:
    """The samples of all steps, in the run's order.

    Raises:
        RunFailed: a step of the run had other samples, or a sample has several windows.
    """
    plan = training.plan
    store = SampleStore.open(plan.data, "train")
    if store.windows != store.samples:
        raise RunFailed(f"{store.windows} windows of {store.samples} samples: a sample of the slice has several")
    recipe = plan.recipe.train
    for step in training.steps:
        _, samples = step_samples(recipe.seed, plan.data.fingerprint, store.samples, recipe.global_batch, step.step)
        if samples_digest(store.sample_id(int(sample)) for sample in samples) != step.digest:
            raise RunFailed(f"step {step.step}: the run trained on other samples than its order says")
        for sample in samples:
            window = store.window(int(store.first_window[sample]))
            yield {"input_ids": window.input_ids.tolist(), "labels": window.labels.tolist()}


def trainer_losses(training: Training, folder: Path) -> list[float]:
    """What the Trainer makes of the same weights and samples."""
    plan = training.plan
    recipe = plan.recipe.train
    torch.set_num_threads(plan.machine.threads_per_process)
    arguments = TrainingArguments(
        str(folder / "trainer"),
        max_steps=len(training.steps),
        per_device_train_batch_size=recipe.global_batch,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=recipe.warmup_ratio,  # a share, where it is below 1
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        seed=recipe.seed,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(plan.data.tokenizer, local_files_only=True)
    trainer = OrderedTrainer(
        model=first_model(plan),
        args=arguments,
        train_dataset=list(ordered_samples(training)),
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    trainer.remove_callback(PrinterCallback)  # standard output is for the figures
    trainer.train()
    return trainer.losses


def compare(given: Material, steps: int) -> Parity:
    with TemporaryDirectory(prefix="trainer-parity-") as name:
        folder = Path(name)
        training = our_training(given, folder, steps)
        theirs = trainer_losses(training, folder)
    return Parity.of(theirs, [step.loss for step in training.steps])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        commit = measured_commit()
        found = compare(material(arguments), arguments.steps)
    except BiodistError as error:
        print(f"trainer_parity: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(json.dumps({"commit": commit.commit, "dirty": commit.dirty, **asdict(found)}))
    print("\n| steps | largest relative difference of the loss | of the first 10 steps | first, last loss |")
    print("|---|---|---|---|")
    print(
        f"| {found.steps} | {found.largest_relative_difference:.1e} (step {found.at_step}) "
        f"| {found.largest_of_first_10:.1e} | {found.first_loss:.4f}, {found.last_loss:.4f} |"
    )
    print(f"\n`{typed_command()}`, {commit_label(commit)}")


if __name__ == "__main__":
    main()
