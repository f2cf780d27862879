"""Entity F1 on the NCBI disease corpus after three epochs, beside the figure the Hugging Face Trainer got.

usage: ner_f1.py --out FOLDER [--seeds 42 43 44] [--markdown FILE.md]

all-MiniLM-L6-v2, 3 epochs, batch 16, learning rate 2e-4, 10 % warm-up, no weight decay, fp32, windows of 256 tokens.
Scored are the last weights, as the peer scores its own: no epoch is chosen by devel. The peer takes each word's
likeliest tag, biodist the likeliest tags that make sense together. A run folder a seed; the same command goes on with
what is unfinished and only reads what is finished.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from campaign.ledger import spread
from harness import encoder_overrides, train
from material import Material, add_arguments, commit_label, material, typed_command

from biodist.errors import BiodistError
from biodist.run.folder import RunFolder
from biodist.run.provenance import Commit, Provenance
from biodist.run.records import Result

EPOCHS = 3
ALLOWED = 0.015  # of F1, between the means on test


@dataclass(frozen=True)
class Scores:
    """One training; all between 0 and 1."""

    name: str
    precision: float
    recall: float
    f1: float
    devel_f1: float
    commit: Commit | None = None

    @classmethod
    def of(cls, seed: int, run: RunFolder) -> Scores:
        metrics: dict[str, Any] = Result.load(run.result).metrics
        test = metrics["test"]
        devel_f1 = metrics["validation"]["f1"]
        commit = Provenance.load(run.provenance).commit
        return cls(f"biodist, seed {seed}", test["precision"], test["recall"], test["f1"], devel_f1, commit)


# The row "3 epochs (1,017 steps)" of peers/README.md, one seed (42).
PEER = Scores("Trainer, seed 42", precision=0.8006, recall=0.8573, f1=0.8280, devel_f1=0.8195)


def overrides(given: Material, seed: int) -> Iterator[str]:
    """The peer's settings in the recipe's words."""
    yield from encoder_overrides(given)
    yield "data.leaks=keep"  # the peer trains on every sentence
    for key, split in (("train", "train"), ("validation", "devel"), ("test", "test")):
        yield f"data.{key}.0.path={given.split(split)}"
    yield from (f"train.epochs={EPOCHS}", "train.global_batch=16", "train.learning_rate=2e-4", f"train.seed={seed}")
    yield from ("train.warmup_ratio=0.1", "train.weight_decay=0.0", "train.precision=fp32")
    yield "checkpoint.keep_best=0"  # the last weights are the ones that count


def markdown(scores: Sequence[Scores], command: str) -> str:
    """All trainings, their mean, and how far it lies from the peer's."""
    lines = ["| training | test P | test R | test F1 | devel F1 |", "|---|---|---|---|---|"]
    for one in (*scores, PEER):
        lines.append(f"| {one.name} | {one.precision:.4f} | {one.recall:.4f} | {one.f1:.4f} | {one.devel_f1:.4f} |")
    columns = [[getattr(one, name) for one in scores] for name in ("precision", "recall", "f1", "devel_f1")]
    lines.insert(-1, f"| biodist, mean ± sd | {' | '.join(map(spread, columns))} |")
    apart = fmean(one.f1 for one in scores) - PEER.f1
    within = "within" if abs(apart) <= ALLOWED else "not within"
    commits = ", ".join(dict.fromkeys(commit_label(one.commit) for one in scores))
    lines += ["", f"Mean test F1 {apart * 100:+.2f} points from the Trainer's: {within} {ALLOWED * 100:.1f}."]
    lines += ["", f"    {command}", "", f"{commits[:1].upper()}{commits[1:]}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for one run a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--markdown", type=Path, help="writes the table there as well")
    arguments = parser.parse_args()
    try:
        given = material(arguments)
        arguments.out.mkdir(parents=True, exist_ok=True)
        runs = {s: train(arguments.out / f"seed-{s}", list(overrides(given, s))) for s in arguments.seeds}
        table = markdown([Scores.of(seed, run) for seed, run in runs.items()], typed_command())
    except BiodistError as error:
        print(f"ner_f1: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(table, end="")
    if arguments.markdown:
        arguments.markdown.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
