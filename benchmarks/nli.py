"""Sentence pairs, abstracts and MeSH terms with all-MiniLM-L6-v2, beside what needs no neural network.

usage: nli.py --out FOLDER [--markdown FILE.md] [--cases snli pubmedqa mesh] [--seeds N] [--shared FOLDER] [--model DIR]

Each case is `biodist train RECIPE --seeds 3`, scored on its test part with the weights of the epoch that its validation
part chose; the baselines learn from the same training part. Row by row in FOLDER/rows.jsonl; the same command goes on
with what is unfinished. Exit 5 when a case is not above all its baselines.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from campaign.ledger import Ledger, Row, conduct
from campaign.ledger import markdown as table
from material import add_arguments, commit_label, measured_commit, refuse_absent, typed_command
from sequence_cases import Case, Ground

from biodist.config.loading import load_recipe
from biodist.config.recipe import Recipe
from biodist.data.class_baselines import class_baselines
from biodist.data.fingerprint import text_source
from biodist.data.records import TextRecord
from biodist.data.texts import TextReading
from biodist.errors import BiodistError, RunFailed
from biodist.metrics.classes import class_scores, label_set_scores
from biodist.metrics.seeds import ScoreSpread, summary_of
from biodist.plan.plan import read_plan
from biodist.run.folder import SeedsFolder
from biodist.run.provenance import Commit

FINE = "above every baseline"
HEAD = ("case", "score on test", "biodist, mean ± sd", "95 % interval", "by seed", "baseline", "score")


@dataclass(frozen=True)
class Campaign:
    """All cases, in a folder."""

    ground: Ground
    out: Path
    seeds: int

    def act(self, case: Case) -> Row:
        """Trains, scores, compares. Raises RunFailed when a training fails."""
        begun = time.monotonic()
        folder = self._trained(case)
        found = _spread(folder, case.score)
        recipe = load_recipe(case.recipe)
        baselines = _baselines(recipe, list(found.values), case.score)
        not_above = [name for name, score in baselines.items() if found.mean <= score]
        return {
            **{"case": case.name, "score": case.score, "commit": measured_commit().model_dump()},
            **{"seeds": found.values, "mean": found.mean, "deviation": found.deviation},
            **{"low": found.low, "high": found.high, "baselines": baselines, "facts": _facts(folder, recipe)},
            **{"seconds": time.monotonic() - begun, "command": typed_command()},
            "problems": [f"{case.score} {found.mean:.4f} is not above {n}: {baselines[n]:.4f}" for n in not_above],
        }

    def _trained(self, case: Case) -> SeedsFolder:
        run = self.out / f"{case.name}-seeds"
        command = [sys.executable, "-m", "biodist.cli", "train", str(case.recipe), "--seeds", str(self.seeds)]
        code = subprocess.run([*command, "--run", str(run), "--nproc", "1"], stdout=subprocess.DEVNULL).returncode
        if code:
            raise RunFailed(f"{case.name}: biodist train ended with {code}")
        return SeedsFolder(run.absolute())


def _spread(folder: SeedsFolder, score: str, split: str = "test") -> ScoreSpread:
    of_split = [one for one in summary_of(folder).scores if one.split == split and one.label is None]
    found = next((one for one in of_split if one.score == score), None)
    if found is None:
        raise RunFailed(f"{folder.root}: no {score} on {split}; it has {', '.join(one.score for one in of_split)}")
    return found


def _facts(folder: SeedsFolder, recipe: Recipe) -> dict[str, Any]:
    """What a reader must know to judge the figures."""
    plan = read_plan(folder.runs()[0].attempts()[-1].plan)
    return {
        "samples": {split: counted.samples for split, counted in plan.data.splits.items()},
        "truncated": {split: counted.truncated for split, counted in plan.data.splits.items()},
        "validation": _spread(folder, recipe.evaluate.metric, "validation").mean,
        "labels": list(recipe.data.labels),
        "epochs": recipe.train.epochs,
        "learning_rate": recipe.train.learning_rate,
        "global_batch": recipe.train.global_batch,
        "max_length": recipe.data.max_length,
        "precision": plan.precision,
        "device": plan.machine.device_name,
    }


def _baselines(recipe: Recipe, seeds: Sequence[int], score: str) -> dict[str, float]:
    """Of each baseline its mean over the seeds: those that draw nothing are the same for all."""
    train, test = ([*_records(recipe, split)] for split in ("train", "test"))
    labels, several = recipe.data.labels, recipe.data.multi_label
    gold = _numbers([record.labels for record in test], labels)
    scores: dict[str, list[float]] = {}
    for seed in seeds:
        for one in class_baselines(train, test, labels, several, seed):
            scores.setdefault(one.name, []).append(_scored(gold, one.classes, labels, several)[score])
    return {name: fmean(values) for name, values in scores.items()}


def _records(recipe: Recipe, split: str) -> list[TextRecord]:
    entries = getattr(recipe.data, split)
    return [record for entry in entries for record in TextReading(text_source(recipe, entry))]


def _numbers(of_samples: Sequence[Sequence[str]], labels: Sequence[str]) -> list[tuple[int, ...]]:
    return [tuple(labels.index(label) for label in of_sample) for of_sample in of_samples]


def _scored(
    gold: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]], labels: Sequence[str], several: bool
) -> Mapping[str, Any]:
    if several:
        return label_set_scores(_table(gold, len(labels)), _table(predicted, len(labels)), labels)
    return class_scores([one for (one,) in gold], [one for (one,) in predicted], labels)


def _table(sets: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """0 and 1, (samples, classes)."""
    found = np.zeros((len(sets), classes), dtype=np.int8)
    for row, numbers in enumerate(sets):
        found[row, list(numbers)] = 1
    return found


def markdown(rows: Sequence[Row]) -> str:
    """A line for each baseline of each case, then what was trained on what."""
    lines: list[Sequence[object]] = []
    for row in rows:
        by_seed = ", ".join(f"{value:.4f}" for value in row["seeds"].values())
        spread = "" if row["deviation"] is None else f" ± {row['deviation']:.4f}"
        interval = "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
        own = (row["case"], row["score"], f"{row['mean']:.4f}{spread}", interval, by_seed)
        for number, (name, score) in enumerate(row["baselines"].items()):
            beaten = "" if row["mean"] > score else ", **not beaten**"
            lines.append((*(own if number == 0 else [""] * len(own)), name, f"{score:.4f}{beaten}"))
    commits = dict.fromkeys(commit_label(Commit.model_validate(row["commit"])) for row in rows)
    return "\n".join(
        [table(HEAD, lines), "", *map(_said, rows), "", *(f"{label[0].upper()}{label[1:]}." for label in commits), ""]
    )


def _said(row: Row) -> str:
    facts = row["facts"]
    parts = ", ".join(f"{count:,} {split}" for split, count in facts["samples"].items())
    cut = ", ".join(f"{count:,} {split}" for split, count in facts["truncated"].items() if count)
    return (
        f"- {row['case']}: {parts} samples"
        + (f" (cut to {facts['max_length']} tokens: {cut})" if cut else "")
        + f"; {facts['epochs']} epochs, batch {facts['global_batch']}, learning rate {facts['learning_rate']:g}, "
        f"{facts['precision']}, {facts['device']}; {row['score']} on validation {facts['validation']:.4f}"
    )


def _ground(arguments: argparse.Namespace) -> Ground:
    refuse_absent(arguments, "data/nli and data/qa")
    return Ground(arguments.shared.absolute(), arguments.out.absolute(), arguments.model.absolute())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for parts, recipes, runs and rows")
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="some of snli, pubmedqa, mesh; all when not given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--markdown", type=Path, help="writes the table there as well")
    arguments = parser.parse_args()
    try:
        campaign = Campaign(_ground(arguments), arguments.out, arguments.seeds)
        cases = [case for case in campaign.ground.cases() if case.name in (arguments.cases or [case.name])]
        ledger = Ledger(arguments.out / "rows.jsonl")
        code = conduct(ledger, [(case.name, partial(campaign.act, case)) for case in cases], None, FINE)
        text = markdown([row for row in ledger.rows() if row["case"] in {case.name for case in cases}])
    except BiodistError as error:
        print(f"nli: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(text, end="")
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
