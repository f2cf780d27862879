"""Entity F1 of real corpora, beside a dictionary of the training part's names and a large model's published figure.

usage: corpora.py --out FOLDER [--cases NAME …] [--seeds 42] [--epochs 3 | --max-steps N] [--markdown FILE.md]

NCBI-disease, BC5CDR, BC2GM, linnaeus, CRAFT and PharmaCoNER, each `biodist train` with all-MiniLM-L6-v2, the epoch
chosen by the development part, scored once on test; the dictionary is that of `biodist data stats`. A row a training in
FOLDER/rows.jsonl; the same command goes on. Exit 5 where a corpus is not above its dictionary.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from campaign.ledger import Ledger, Row, conduct, spread
from campaign.ledger import markdown as table
from material import add_arguments, commit_label, measured_commit, refuse_absent, typed_command
from tagged_recipe import SPLITS, Setting, add_setting, setting_of, write_recipe

from biodist.errors import EXIT_SOME, BiodistError, Problem, RunFailed, UserError
from biodist.run.folder import RunFolder
from biodist.run.provenance import Commit
from biodist.run.records import Result


@dataclass(frozen=True)
class Corpus:
    """A folder with three tagged files, and what a large model reached on it elsewhere."""

    folder: str
    types: tuple[str, ...]
    published: str
    left_out: tuple[str, ...] = ()  # types that nobody scores

    @property
    def name(self) -> str:
        return Path(self.folder).name


# BioBERT v1.1: dmis-lab/biobert-pytorch, named-entity-recognition/README.md (20bf80ad), its own F1 on test. CRAFT: the
# model card of StivenLancheros' biobert CRAFT_English, another release with six other names. PharmaCoNER:
# PlanTL-GOB-ES/lm-biomedical-clinical-es (a4ce5466), scored by character offsets.
CORPORA = (
    Corpus("ner/NCBI-disease", ("Disease",), "88.30 (BioBERT v1.1)"),
    Corpus("ner/BC5CDR", ("Chemical", "Disease"), "93.04 chemicals, 86.37 diseases (BioBERT v1.1, one model each)"),
    Corpus("ner/BC2GM", ("GENE",), "83.41 (BioBERT v1.1)"),
    Corpus("ner/linnaeus", ("Species",), "88.08 (BioBERT v1.1)"),
    Corpus("ner/CRAFT", ("SO", "GGP", "Taxon", "CHEBI", "CL", "GO"), "86.04 (BioBERT v1.2, another release)"),
    Corpus(
        "ner_es/PharmaCoNER",
        ("NORMALIZABLES", "PROTEINAS", "NO_NORMALIZABLES"),
        "85.45 (BioBERT), 89.13 (bsc-bio-ehr-es)",
        ("UNCLEAR",),
    ),
)


@dataclass(frozen=True)
class Campaign:
    """All trainings, in a folder."""

    shared: Path
    out: Path
    setting: Setting

    def act(self, corpus: Corpus, seed: int) -> Row:
        """Writes the recipe, asks the dictionary, trains. Raises RunFailed when a command fails."""
        began = time.monotonic()
        recipe = self._recipe(corpus, seed)
        stats = json.loads(_biodist("data", "stats", "--recipe", str(recipe), "--json"))
        dictionary = stats["files"][-1]["baselines"]["dictionary"]
        run = RunFolder((self.out / f"{corpus.name}-{seed}").absolute())
        _biodist("train", str(recipe), "--run", str(run.root), "--nproc", "1", "--device", "cpu")
        result = Result.load(run.result)
        test = {name: result.metrics["test"][name] for name in ("precision", "recall", "f1")}
        ahead = test["f1"] > dictionary["f1"]
        return {
            **{"case": f"{corpus.name}-{seed}", "corpus": corpus.name, "seed": seed, "steps": result.steps},
            **{"test": test, "dictionary": dictionary, "train_seconds": result.train_seconds},
            **{"seconds": time.monotonic() - began, "commit": measured_commit().model_dump()},
            "problems": [] if ahead else [f"F1 {test['f1']:.4f}, the dictionary {dictionary['f1']:.4f}"],
        }

    def _recipe(self, corpus: Corpus, seed: int) -> Path:
        splits = {split: [self._entry(corpus, part)] for split, part in SPLITS.items()}
        return write_recipe(self.out, f"{corpus.name}-{seed}", self.setting, seed, corpus.types, splits)

    def _entry(self, corpus: Corpus, part: str) -> dict[str, Any]:
        path = (self.shared / "data" / corpus.folder / f"{part}.tsv").resolve()
        if not path.is_file():
            raise UserError(Problem(str(path), "there is no such file", "see benchmarks/README.md"))
        entry = {"path": str(path), "format": "iob2", "name": corpus.name}
        return {**entry, **({"map": dict.fromkeys(corpus.left_out, "O")} if corpus.left_out else {})}


def _biodist(*words: str) -> str:
    """What the command prints; its progress goes to this process's own. Raises RunFailed."""
    done = subprocess.run([sys.executable, "-m", "biodist.cli", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RunFailed(f"biodist {words[0]}: exit code {done.returncode}")
    return done.stdout


def markdown(rows: Sequence[Row]) -> str:
    head = ("corpus", "seeds", "P", "R", "F1", "dictionary F1", "published F1 of a large model")
    commits = dict.fromkeys(commit_label(Commit.model_validate(row["commit"])) for row in rows)
    labels = (f"{label[0].upper()}{label[1:]}." for label in commits)
    return "\n".join([table(head, _lines(rows)), "", f"    {typed_command()}", "", *labels, ""])


def _lines(rows: Sequence[Row]) -> Iterator[Sequence[object]]:
    for corpus in CORPORA:
        own = [row for row in rows if row["corpus"] == corpus.name]
        if own:
            scores = [spread([row["test"][name] for row in own]) for name in ("precision", "recall", "f1")]
            yield corpus.name, len(own), *scores, f"{own[0]['dictionary']['f1']:.4f}", corpus.published


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for recipes, runs and rows")
    parser.add_argument("--cases", nargs="+", choices=[one.name for one in CORPORA], help="all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    add_setting(parser)
    parser.add_argument("--markdown", type=Path, help="writes the table there as well")
    arguments = parser.parse_args()
    try:
        refuse_absent(arguments, "data/ner and data/ner_es")
        out = arguments.out.absolute()
        out.mkdir(parents=True, exist_ok=True)
        campaign = Campaign(arguments.shared.absolute(), out, setting_of(arguments))
        chosen = [one for one in CORPORA if one.name in (arguments.cases or [one.name])]
        cases = [(f"{one.name}-{seed}", partial(campaign.act, one, seed)) for seed in arguments.seeds for one in chosen]
        ledger = Ledger(out / "rows.jsonl")
        code = conduct(ledger, cases, None, "above the dictionary")
        text = markdown(ledger.rows())
    except BiodistError as error:
        print(f"corpora: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(text, end="")
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    raise SystemExit(EXIT_SOME if code else 0)


if __name__ == "__main__":
    main()
