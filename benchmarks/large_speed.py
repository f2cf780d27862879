"""The shape of BERT-large on pairs of sentences: real tokens a second against `transformers.Trainer`, in turns.

usage: large_speed.py --out FILE.jsonl [--markdown FILE.md] [--steps N] [--repetitions N] [--layers N]

24 layers, 1,024 wide, 16 heads, random weights; the pairs of SNLI-sample (its dev part), global batch 32, fp32. Ours:
two processes under ZeRO-2 and ZeRO-3. The Trainer's: one process on all cores, two processes under DDP, and one process
grouped by length. The first two steps of each are not counted. Within a repetition all take turns, and who begins
changes; a ratio compares two cases of one repetition. Every case is a row in FILE.jsonl when it is done; the same
command goes on from there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from campaign.ledger import Row
from campaign.ledger import markdown as table
from pair_training import Speed, Trainer, biodist_run, biodist_speed, compare, encoder_of, trainer_speed

from biodist.errors import Problem, RunFailed, UserError
from biodist.plan.machine import Machine

GLOBAL_BATCH = 32
WARM = 2  # steps that are not counted: buffers, buckets and kernels are made in them
GOAL = 1.6
PLAIN = ("trainer-1", "trainer-2")  # the goal is against the faster of these
VARIANTS = ("biodist-zero2", *PLAIN, "biodist-zero3", "trainer-1-grouped")
NAMES = {
    "biodist-zero2": "biodist, 2 processes, ZeRO-2",
    "biodist-zero3": "biodist, 2 processes, ZeRO-3",
    "trainer-1": "Trainer, 1 process",
    "trainer-2": "Trainer, 2 processes, DDP",
    "trainer-1-grouped": "Trainer, 1 process, grouped by length",
}
RECIPE = """\
name: large-shape
task: nli
model:
  init: scratch
  scratch:
    {{layers: {layers}, hidden_size: 1024, heads: 16, intermediate_size: 4096, vocab_size: 8000, max_positions: 512}}
  dropout: 0.1
data:
  max_length: 512
  labels: [entailment, neutral, contradiction]
  train: [{{path: {pairs}, format: jsonl, name: snli}}]
train:
  max_steps: {steps}
  global_batch: {batch}
  learning_rate: 3e-5
  precision: fp32
"""


@dataclass(frozen=True)
class Bench:
    """What every case shares."""

    pairs: Path
    folder: Path
    steps: int
    layers: int
    threads: int
    commit: str

    @property
    def recipe(self) -> Path:
        path = self.folder / "recipe.yaml"
        text = RECIPE.format(layers=self.layers, pairs=self.pairs, steps=self.steps, batch=GLOBAL_BATCH)
        path.write_text(text, encoding="utf-8")
        return path

    def encoder(self) -> Path:
        """Config and tokenizer of a run of one step, made once."""
        folder = self.folder / "encoder"
        if not folder.is_dir():
            with TemporaryDirectory(dir=self.folder) as place:
                small = ["train.max_steps=1", "model.scratch.layers=1"]
                run = biodist_run(Path(place) / "run", self.recipe, small, 1)
                encoder_of(run, folder)
            config = (folder / "config.json").read_text(encoding="utf-8")
            config = config.replace('"num_hidden_layers": 1', f'"num_hidden_layers": {self.layers}')
            (folder / "config.json").write_text(config, encoding="utf-8")
        return folder

    def case(self, variant: str, repetition: int) -> Row:
        began = time.time()
        with TemporaryDirectory(dir=self.folder) as place:
            speed, planned = self._ours(variant, Path(place)) if "biodist" in variant else self._theirs(variant, place)
        return {
            "case": self.name(variant, repetition),
            "variant": variant,
            "repetition": repetition,
            "commit": self.commit,
            "time": began,
            "seconds": time.time() - began,
            "planned_bytes": planned,
            "speed": asdict(speed),
            "problems": [] if speed.steps == self.steps - WARM else [f"{speed.steps} steps"],
        }

    def name(self, variant: str, repetition: int) -> str:
        return f"{variant} {repetition} layers {self.layers} steps {self.steps} {self.commit}"

    def _ours(self, variant: str, place: Path) -> tuple[Speed, int | None]:
        strategy = f"distributed.strategy={variant.removeprefix('biodist-')}"
        speed, plan = biodist_speed(biodist_run(place / "run", self.recipe, [strategy], 2), WARM)
        return speed, plan.memory.resident

    def _theirs(self, variant: str, place: str) -> tuple[Speed, int | None]:
        how = Trainer(processes=2 if "-2" in variant else 1, grouped="grouped" in variant)
        speed = trainer_speed(
            how, self.encoder(), self.pairs, Path(place), GLOBAL_BATCH, self.steps, WARM, self.threads
        )
        return speed, None

    def cases(self, repetitions: int) -> Iterator[tuple[str, Callable[[], Row]]]:
        """Every case, repetition by repetition; who goes first changes from one to the next."""
        for repetition in range(1, repetitions + 1):
            first = (repetition - 1) % len(VARIANTS)
            for variant in VARIANTS[first:] + VARIANTS[:first]:
                yield self.name(variant, repetition), partial(self.case, variant, repetition)


def report(rows: Sequence[Row], command: str) -> str:
    """Speeds, memory, and ratios inside each repetition."""
    whole: dict[int, dict[str, Row]] = {}
    for row in rows:
        whole.setdefault(row["repetition"], {})[row["variant"]] = row
    full = [each for each in whole.values() if len(each) == len(VARIANTS)]
    if not full:
        return "No repetition is whole yet: nothing to compare.\n"
    lines = [f"{len(full)} repetitions in turns; commit {full[0][VARIANTS[0]]['commit']}.", "", f"    {command}", ""]
    return "\n".join([*lines, _speeds(full), "", _ratios(full)]) + "\n"


def _rate(row: Row) -> float:
    return float(row["speed"]["tokens"] / row["speed"]["seconds"])


def _speeds(full: Sequence[dict[str, Row]]) -> str:
    lines = []
    for variant in VARIANTS:
        rows = [each[variant] for each in full]
        speeds = [_rate(row) for row in rows]
        peak = max(row["speed"]["peak_memory_bytes"] for row in rows) / 10**9
        planned = rows[0]["planned_bytes"]
        spread = f"{min(speeds):,.0f} to {max(speeds):,.0f}"
        plan = f"{planned / 10**9:.2f}" if planned else ""
        lines.append((NAMES[variant], f"{median(speeds):,.0f}", spread, f"{peak:.2f}", plan))
    head = ("variant", "real tokens/s, median", "min to max", "peak of a process, libraries included, GB", "plan, GB")
    return table(head, lines)


def _ratios(full: Sequence[dict[str, Row]]) -> str:
    lines = []
    for ours in ("biodist-zero2", "biodist-zero3"):
        faster = [_rate(each[ours]) / max(_rate(each[other]) for other in PLAIN) for each in full]
        lines.append((NAMES[ours], "the faster of the Trainer's plain two", *_spread(faster), _verdict(faster)))
        grouped = [_rate(each[ours]) / _rate(each["trainer-1-grouped"]) for each in full]
        lines.append((NAMES[ours], NAMES["trainer-1-grouped"], *_spread(grouped), ""))
    return table(("ours", "against", "ratio, median", "min to max", f"goal ≥ {GOAL}"), lines)


def _spread(ratios: Sequence[float]) -> tuple[str, str]:
    return f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"


def _verdict(ratios: Sequence[float]) -> str:
    if len(ratios) < 2:
        return "one repetition decides nothing"
    if min(ratios) >= GOAL:
        return "met"
    return "not met" + (" (inside the spread)" if max(ratios) >= GOAL else "")


def pairs_file(shared: str | None) -> Path:
    """The training pairs.

    Raises:
        UserError: they are not there.
    """
    path = Path(shared or "") / "data/nli/SNLI-sample/dev.jsonl"
    if not shared or not path.is_file():
        raise UserError(Problem("BIODIST_SHARED", f"{path} is not there", "name the folder with data/nli/SNLI-sample"))
    return path.resolve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; outside the clone, or in runs/")
    parser.add_argument("--markdown", type=Path, help="writes the tables there as well")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--layers", type=int, default=24, help="fewer, to try the script")
    given = parser.parse_args()

    def cases_in(folder: Path, commit: str) -> Sequence[tuple[str, Callable[[], Row]]]:
        if given.steps <= WARM:
            raise RunFailed(f"--steps must be more than {WARM}")
        pairs = pairs_file(os.environ.get("BIODIST_SHARED"))
        bench = Bench(pairs, folder, given.steps, given.layers, Machine.here().cores, commit)
        return list(bench.cases(given.repetitions))

    compare("large_speed", given.out, given.markdown, cases_in, report)


if __name__ == "__main__":
    main()
