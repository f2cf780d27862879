"""A real sweep: a slice of NCBI-disease, and the winner beside the recipe itself, with fresh seeds, on test.

usage: sweep_slice.py --out FOLDER [--sentences 1200] [--trials 12] [--seeds 3] [--markdown FILE.md]

all-MiniLM-L6-v2 on the first sentences of the training part; the recipe is the one that `ner_f1.py` trains (2e-4, batch
16, 3 epochs), chosen by hand, and no straw man. TPE proposes learning rate, warm-up, batch and dropout; asha stops. The
commands are those a person types, and go on where they stopped: `biodist sweep`, then `--promote 1 --default`.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import yaml
from campaign.ledger import markdown as table
from harness import encoder_overrides
from material import Material, add_arguments, commit_label, material, measured_commit, typed_command

from biodist.errors import BiodistError, RunFailed
from biodist.metrics.seeds import summary_of
from biodist.run.durable import write_text
from biodist.run.sweep_folder import SweepFolder

METRIC = "f1"
SPACE = {
    "train.learning_rate": {"loguniform": [5e-5, 2e-3]},
    "train.warmup_ratio": {"choice": [0.0, 0.1, 0.3]},
    "train.global_batch": {"choice": [8, 16, 32]},
    "model.dropout": {"uniform": [0.0, 0.3]},
}


def sentences(path: Path) -> Iterator[str]:
    """The lines of one sentence after the other."""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        if block.strip():
            yield block.strip("\n") + "\n\n"


def sweep_file(out: Path, trials: int) -> Path:
    """What is searched, and how."""
    search = {"searcher": "tpe", "scheduler": "asha", "trials": trials, "concurrency": 1, "seed": 42}
    sweep = {"name": "ncbi-slice", "recipe": "ncbi-disease", "space": SPACE, "search": search}
    write_text(out / "sweep.yaml", yaml.safe_dump({**sweep, "metric": METRIC, "mode": "max"}, sort_keys=False))
    return out / "sweep.yaml"


def overrides(given: Material, train: Path) -> Iterator[str]:
    """The recipe for the small encoder."""
    yield from encoder_overrides(given)
    for key, path in (("train", train), ("validation", given.split("devel")), ("test", given.split("test"))):
        yield f"data.{key}.0.path={path}"
    yield from ("train.epochs=3", "train.global_batch=16", "train.learning_rate=2e-4", "train.precision=bf16")


def biodist(*words: str) -> None:
    """A command of biodist; what it says goes to this process's own output. Raises RunFailed."""
    code = subprocess.run([sys.executable, "-m", "biodist.cli", *words]).returncode
    if code:
        raise RunFailed(f"biodist {words[0]}: exit code {code}")


def markdown(folder: SweepFolder) -> str:
    """The trials by what became of them, the best three, and the promoted beside the recipe itself."""
    with (folder.root / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    states = Counter(row["state"] for row in rows)
    best = sorted((row for row in rows if row["state"] == "finished"), key=lambda row: -float(row[METRIC]))[:3]
    head = (f"validation {METRIC}", *SPACE)
    parts = [
        f"{len(rows)} trials: {', '.join(f'{count} {state}' for state, count in states.items())}; "
        f"{sum(float(row['seconds']) for row in rows):.0f} s of training in all. The best:",
        "",
        table(head, [[f"{float(row[METRIC]):.4f}", *(row[key][:8] for key in SPACE)] for row in best]),
        "",
        table(("configuration", "split", "mean ± sd", "95 % interval", "seeds"), list(_promoted(folder))),
    ]
    return "\n".join([*parts, "", f"    {typed_command()}", "", f"{commit_label(measured_commit())}.".capitalize(), ""])


def _promoted(folder: SweepFolder) -> Iterator[Sequence[object]]:
    for path in sorted(folder.promoted.iterdir()):
        for score in summary_of(folder.seeds_of(path.name)).scores:
            if score.score == METRIC and score.label is None:
                spread = "" if score.deviation is None else f" ± {score.deviation:.4f}"
                interval = "" if score.low is None else f"{score.low:.4f} to {score.high:.4f}"
                yield path.name, score.split, f"{score.mean:.4f}{spread}", interval, score.n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the slice, the sweep and its runs")
    parser.add_argument("--sentences", type=int, default=1200, help="of the training part, from its beginning")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3, help="fresh ones of the winner and of the recipe itself")
    parser.add_argument("--markdown", type=Path, help="writes the table there as well")
    arguments = parser.parse_args()
    try:
        given, out = material(arguments), arguments.out.absolute()
        out.mkdir(parents=True, exist_ok=True)
        part = out / "train.tsv"
        write_text(part, "".join(islice(sentences(given.split("train")), arguments.sentences)))
        folder = SweepFolder(out / "sweep")
        file = sweep_file(out, arguments.trials)
        biodist("sweep", str(file), *overrides(given, part), "--run", str(folder.root), "--device", "cpu")
        biodist("sweep", "--promote", "1", "--seeds", str(arguments.seeds), "--default", str(folder.root))
        text = markdown(folder)
    except BiodistError as error:
        print(f"sweep_slice: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(text, end="")
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
