"""Four ways to merge corpora that annotate different types, trained and scored on every type.

usage: merging.py --out FOLDER [--markdown FILE.md] [--cases PREFIX …] [--seeds 42 43 44] [--epochs N] [--shared FOLDER]

`craft`: the documents of CRAFT's training part are dealt to three corpora, of which each shows one or two of the five
layers; scored against all five over the test part, beside a model that has seen every layer (`complete`).
`merged`: NCBI-disease, BC5CDR, BC2GM and linnaeus together, each scored on its own types, beside a model of each
alone. Every case is `biodist train` with all-MiniLM-L6-v2. Row by row in FOLDER/rows.jsonl; the same command goes on
with what is unfinished. Exit 5 when marginal is not ahead of naive by more than the spread over seeds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from campaign.ledger import Ledger, Row, conduct, spread
from campaign.ledger import markdown as table
from material import add_arguments, commit_label, measured_commit, refuse_absent, typed_command
from merging_cases import SCHEMES, Case, Ground
from tagged_recipe import add_setting, setting_of

from biodist.errors import EXIT_SOME, BiodistError, RunFailed
from biodist.plan.plan import read_plan
from biodist.run.folder import RunFolder
from biodist.run.provenance import Commit
from biodist.run.records import Result

FINE = "trained and scored"
MEAN = "mean of the corpora"


@dataclass(frozen=True)
class Campaign:
    """All cases, in a folder."""

    out: Path

    def act(self, case: Case) -> Row:
        """Trains and reads the scores. Raises RunFailed when the training fails."""
        begun = time.monotonic()
        run = self.out / f"{case.name}-run"
        command = [sys.executable, "-m", "biodist.cli", "train", str(case.recipe), "--run", str(run), "--nproc", "1"]
        code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
        if code:
            raise RunFailed(f"{case.name}: biodist train ended with {code}")
        folder = RunFolder(run.absolute())
        result, plan = Result.load(folder.result), read_plan(folder.attempts()[-1].plan)
        return {
            **{"case": case.name, "campaign": case.campaign, "scheme": case.scheme, "seed": case.seed},
            **{"scores": _scores(result.metrics["test"], case.of), "of": case.of, "problems": []},
            **{"steps": result.steps, "best_step": result.best_step},
            **{"samples": plan.data.splits["train"].samples, "leaked": plan.data.splits["train"].leaked},
            **{"seconds": time.monotonic() - begun, "train_seconds": result.train_seconds},
            **{"command": typed_command(), "commit": measured_commit().model_dump()},
        }


def _scores(test: Mapping[str, Any], alone: str) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 by corpus."""
    corpora = test.get("corpora") or {alone: test}
    kept = ("precision", "recall", "f1")
    return {name.removeprefix("test-"): {score: own[score] for score in kept} for name, own in corpora.items()}


def markdown(rows: Sequence[Row]) -> str:
    """A table a campaign: F1 of each corpus or layer by scheme, mean and deviation over seeds; then the verdicts."""
    parts = []
    for campaign in dict.fromkeys(row["campaign"] for row in rows):
        own = [row for row in rows if row["campaign"] == campaign]
        parts += [_table(own), "", *(f"- {line}" for line in _verdicts(own)), ""]
    commits = dict.fromkeys(commit_label(Commit.model_validate(row["commit"])) for row in rows)
    return "\n".join(
        [*parts, f"    {typed_command()}", "", *(f"{label[0].upper()}{label[1:]}." for label in commits), ""]
    )


def _table(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    lines = []
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        by_name = {name: _values(rows, scheme, name) for name in names}
        seeds = max(map(len, by_name.values()))
        whole = all(len(values) == seeds for values in by_name.values())
        means = [fmean(values) for values in zip(*by_name.values(), strict=True)] if whole else []
        lines.append([scheme, seeds, *map(spread, by_name.values()), spread(means)])
    return table(["scheme", "seeds", *names, MEAN], lines)


def _values(rows: Sequence[Row], scheme: str, name: str) -> list[float]:
    return [row["scores"][name]["f1"] for row in rows if row["scheme"] == scheme and name in row["scores"]]


def _means(rows: Sequence[Row], scheme: str) -> list[float]:
    """The mean over the corpora, of each seed."""
    return [fmean(s["f1"] for s in row["scores"].values()) for row in rows if row["scheme"] == scheme]


def _verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Marginal against each other scheme, by the mean of the corpora."""
    marginal = _means(rows, "marginal")
    for scheme in SCHEMES:
        other = _means(rows, scheme)
        if scheme != "marginal" and min(len(marginal), len(other)) > 1:
            ahead = fmean(marginal) - fmean(other)
            more = "more" if ahead > stdev(marginal) + stdev(other) else "not more"
            yield f"marginal {100 * ahead:+.2f} points from {scheme}: {more} than the two deviations together"


def _is_ahead(rows: Sequence[Row]) -> bool:
    """Whether marginal is ahead of naive by more than the spread, in every campaign that can tell."""
    campaigns = {row["campaign"] for row in rows}
    said = [line for name in campaigns for line in _verdicts([row for row in rows if row["campaign"] == name])]
    return not any("from naive" in line and "not more" in line for line in said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for parts, recipes, runs and rows")
    parser.add_argument("--cases", nargs="+", metavar="PREFIX", help="cases that begin so: craft, merged-naive; all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    add_setting(parser)
    parser.add_argument("--test-documents", type=int, metavar="N", help="of CRAFT's test part, evenly spread; all")
    parser.add_argument("--last", action="store_true", help="merged: the last weights count, no epoch is chosen")
    parser.add_argument("--limit", type=int, help="at most so many trainings now")
    parser.add_argument("--markdown", type=Path, help="writes the table there as well")
    arguments = parser.parse_args()
    try:
        refuse_absent(arguments, "data/ner")
        folders = (arguments.shared.absolute(), arguments.out.absolute())
        own = (tuple(arguments.seeds), arguments.test_documents, not arguments.last)
        ground = Ground(*folders, setting_of(arguments), *own)
        chosen = tuple(arguments.cases or [""])
        cases = [case for case in ground.cases() if case.name.startswith(chosen)]
        ledger, campaign = Ledger(arguments.out / "rows.jsonl"), Campaign(arguments.out)
        left = [case for case in cases if case.name not in ledger.done()][: arguments.limit]
        code = conduct(ledger, [(case.name, partial(campaign.act, case)) for case in left], None, FINE)
        rows = [row for row in ledger.rows() if row["case"] in {case.name for case in cases}]
        text = markdown(rows) if rows else ""
    except BiodistError as error:
        print(f"merging: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(text, end="")
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    raise SystemExit(code or (0 if _is_ahead(rows) else EXIT_SOME))


if __name__ == "__main__":
    main()
