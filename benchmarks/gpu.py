"""The shape of BERT-large on one GPU in bf16: tokens a second, share of the GPU's bf16 peak, memory against the plan.

usage: gpu.py --out FILE.jsonl [--markdown FILE.md] [--steps N] [--repetitions N] [--pairs FILE.jsonl]

Two kinds of data: pairs of SNLI's lengths (--pairs, SNLI's layout; by default that of BIODIST_SHARED), and the same
sentences joined until every pair is cut to 512 tokens. Three variants take turns: biodist, the Trainer with dynamic
padding, the Trainer grouped by length. The peak is that of a large bf16 matrix product on the same GPU, measured before
the first case. A step's work is 3 × (2 × weights of the layers × tokens + 4 × layers × width × sum of squared lengths)
floating-point operations: forward once, backward twice. Without a CUDA GPU it says so and ends with 0.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from campaign.ledger import Row
from campaign.ledger import markdown as table
from large_speed import RECIPE, pairs_file
from pair_training import Speed, Trainer, biodist_run, biodist_speed, compare, encoder_of, trainer_speed

from biodist.plan.machine import Machine
from biodist.plan.plan import ModelShape

LAYERS, GLOBAL_BATCH, WARM = 24, 64, 5
LONG_WORDS = 400  # on each side of a long pair: more than 512 tokens together
KINDS = ("nli", "long")
VARIANTS = ("biodist", "trainer", "trainer-grouped")
NAMES = {"biodist": "biodist", "trainer": "Trainer, dynamic padding", "trainer-grouped": "Trainer, grouped by length"}
MATRIX = 8192


@dataclass(frozen=True)
class Bench:
    """What every case shares."""

    files: dict[str, Path]
    folder: Path
    steps: int
    threads: int
    commit: str
    peak: float  # bf16 operations a second of one large matrix product
    gpu: str

    def recipe(self, kind: str) -> Path:
        path = self.folder / f"{kind}.yaml"
        text = RECIPE.format(layers=LAYERS, pairs=self.files[kind], steps=self.steps, batch=GLOBAL_BATCH)
        path.write_text(text.replace("precision: fp32", "precision: bf16"), encoding="utf-8")
        return path

    def encoder(self, kind: str) -> Path:
        """Config and tokenizer of the shape, made once by a run of one step."""
        folder = self.folder / f"encoder-{kind}"
        if not folder.is_dir():
            with TemporaryDirectory(dir=self.folder) as place:
                encoder_of(biodist_run(Path(place) / "run", self.recipe(kind), ["train.max_steps=1"], 1), folder)
        return folder

    def case(self, kind: str, variant: str, repetition: int) -> Row:
        began = time.time()
        with TemporaryDirectory(dir=self.folder) as place:
            found = self._ours(kind, Path(place)) if variant == "biodist" else self._theirs(kind, variant, place)
        speed, more = found
        return {
            "case": self.name(kind, variant, repetition),
            "kind": kind,
            "variant": variant,
            "repetition": repetition,
            "commit": self.commit,
            "gpu": self.gpu,
            "peak": self.peak,
            "seconds": time.time() - began,
            "speed": asdict(speed),
            "problems": [],
            **more,
        }

    def name(self, kind: str, variant: str, repetition: int) -> str:
        return f"{kind} {variant} {repetition} steps {self.steps} {self.commit}"

    def _ours(self, kind: str, place: Path) -> tuple[Speed, dict[str, Any]]:
        speed, plan = biodist_speed(biodist_run(place / "run", self.recipe(kind), [], 1), WARM)
        lengths = plan.data.splits["train"].lengths
        squares = sum(length * length * count for length, count in lengths.items())
        work = work_of_a_token(plan.model.shape, squares / plan.data.splits["train"].tokens)
        more = {
            "planned_bytes": plan.memory.total - plan.memory.process,
            "micro_batch": plan.batch.micro_batch,
            "work_of_a_token": work,
        }
        return speed, more

    def _theirs(self, kind: str, variant: str, place: str) -> tuple[Speed, dict[str, Any]]:
        how = Trainer(precision="bf16", grouped=variant.endswith("grouped"))
        model, pairs = self.encoder(kind), self.files[kind]
        return trainer_speed(how, model, pairs, Path(place), GLOBAL_BATCH, self.steps, WARM, self.threads), {}

    def cases(self, repetitions: int) -> Iterator[tuple[str, Callable[[], Row]]]:
        for repetition in range(1, repetitions + 1):
            first = (repetition - 1) % len(VARIANTS)
            for kind in KINDS:
                for variant in VARIANTS[first:] + VARIANTS[:first]:
                    yield self.name(kind, variant, repetition), partial(self.case, kind, variant, repetition)


def work_of_a_token(shape: ModelShape, mean_length: float) -> float:
    """Floating-point operations of training on one token among ``mean_length`` of its sequence, on average.

    In the last layer of queries, keys and values alone: behind its attention only first tokens go on.
    """
    products = 2 * ((shape.layers - 1) * shape.layer_parameters + 3 * shape.hidden_size**2)
    attention = 4 * shape.layers * shape.hidden_size * mean_length
    return 3 * (products + attention)


def long_pairs(pairs: Path, path: Path) -> Path:
    """Pairs of the same sentences, joined until both sides are long; labels as the first pair of each has them."""
    rows = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["gold_label"] != "-"]
    words = [word for row in rows for word in (row["sentence1"] + " " + row["sentence2"]).split()]
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            at = (number * 37) % (len(words) - 2 * LONG_WORDS)
            sides = [" ".join(words[at + side * LONG_WORDS :][:LONG_WORDS]) for side in range(2)]
            joined = {"sentence1": sides[0], "sentence2": sides[1], "gold_label": row["gold_label"]}
            file.write(json.dumps(joined) + "\n")
    return path


def bf16_peak(seconds: float = 3.0) -> float:
    """Operations a second of a square bf16 product, the best of many."""
    import torch

    one, two = (torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(10):
            one @ two
        torch.cuda.synchronize()
        best = max(best, 10 * 2 * MATRIX**3 / (time.perf_counter() - began))
    return best


def report(rows: Sequence[Row], command: str) -> str:
    """Speeds, shares of the peak, memory, and ratios inside each repetition."""
    full: dict[tuple[str, int], dict[str, Row]] = {}
    for row in rows:
        full.setdefault((row["kind"], row["repetition"]), {})[row["variant"]] = row
    whole = {key: each for key, each in full.items() if len(each) == len(VARIANTS)}
    if not whole:
        return "No repetition is whole yet: nothing to compare.\n"
    one = rows[0]
    head = f"{one['gpu']}, bf16 peak {one['peak'] / 10**12:.0f} TFLOP/s (measured), commit {one['commit']}."
    lines = []
    for kind in KINDS:
        each = [variants for (of, _), variants in whole.items() if of == kind]
        for variant in VARIANTS if each else ():
            lines.append((kind, NAMES[variant], *_figures(variant, each)))
    columns = ("data", "variant", "real tokens/s, median", "min to max", "of the peak", "allocated, GB", "plan, GB")
    return "\n".join([head, "", f"    {command}", "", table((*columns, "biodist is … times as fast"), lines)]) + "\n"


def _rate(row: Row) -> float:
    return float(row["speed"]["tokens"] / row["speed"]["seconds"])


def _figures(variant: str, each: Sequence[dict[str, Row]]) -> tuple[str, ...]:
    rates = [_rate(rows[variant]) for rows in each]
    ours = each[0]["biodist"]
    share = median(rates) * ours["work_of_a_token"] / ours["peak"]
    allocated = max(rows[variant]["speed"]["peak_memory_bytes"] for rows in each) / 10**9
    planned = f"{ours['planned_bytes'] / 10**9:.2f}" if variant == "biodist" else ""
    ratios = [_rate(rows["biodist"]) / _rate(rows[variant]) for rows in each]
    times = "" if variant == "biodist" else f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
    return f"{median(rates):,.0f}", spread, f"{share:.0%}", f"{allocated:.2f}", planned, times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; outside the clone, or in runs/")
    parser.add_argument("--markdown", type=Path, help="writes the tables there as well")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--pairs", type=Path, help="pairs in SNLI's layout; those of BIODIST_SHARED")
    given = parser.parse_args()
    machine = Machine.here()
    if not machine.gpus:
        print("gpu: skipped, this machine shows no CUDA GPU")
        return

    def cases_in(folder: Path, commit: str) -> Sequence[tuple[str, Callable[[], Row]]]:
        pairs = given.pairs.resolve() if given.pairs else pairs_file(os.environ.get("BIODIST_SHARED"))
        files = {"nli": pairs, "long": long_pairs(pairs, folder / "long.jsonl")}
        bench = Bench(files, folder, given.steps, machine.cores, commit, bf16_peak(), machine.gpus[0].name)
        return list(bench.cases(given.repetitions))

    compare("gpu", given.out, given.markdown, cases_in, report)


if __name__ == "__main__":
    main()
