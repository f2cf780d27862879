"""The elastic table: a checkpoint of any strategy and number of processes, resumed under any other.

usage: elastic.py --out FILE.jsonl [--markdown FILE.md] [--folder DIR]

{ddp, zero1, zero2, zero3} × {1, 2, 3 processes}, saved under each and resumed under each: 144 pairs. A small BERT made
from nothing on generated sentences, dropout 0, weight decay on all but biases and norms. For every pair:

- state: weights and both moments, saved again as soon as they were loaded, have the digest of the checkpoint (all
  parameters in name order, whole), and so has the step;
- losses: the next 20 are within 1e-4, relative, of those of the run that was not interrupted;
- samples: ``samples.jsonl`` of the resumed run has the bytes of the uninterrupted one's.

Trainings that go from one number of processes to another share a group of processes. Rows go to FILE.jsonl as a group
is done; the same command goes on with the pairs that are not on record.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from elastic_rows import CLOSE, PROCESSES, Layout, Pair, Row, append_rows, layouts, markdown, read_rows
from material import measured_commit, typed_command
from state_group import run_group

from biodist.checkpoint.fragments import PARTS
from biodist.checkpoint.reading import checkpoints_in, problems_of
from biodist.config.recipe import Recipe
from biodist.data.generate import LABELS, generate
from biodist.data.indexing import build_index
from biodist.errors import BiodistError, RunFailed, SomeFailed
from biodist.plan.decide import decide, place
from biodist.plan.machine import Machine
from biodist.plan.plan import ModelPlan, Plan, Strategy
from biodist.plan.shape import scratch_shape
from biodist.run.folder import RunFolder

JOBS = Path(__file__).resolve().parent.parent / "tests" / "training" / "jobs.py"
SENTENCES = 90
BATCH = 8
SAVED_AT = 15  # the step of the checkpoints, in the second epoch
NEXT = 20  # steps after it
LIMIT_S = 1800  # of a group; minutes on a machine of its own


@dataclass(frozen=True)
class Trainings:
    """Plans over one small corpus, and the folders of runs and checkpoints."""

    folder: Path

    def prepare(self) -> None:
        generate(self.folder / "corpus", train=SENTENCES, validation=1, test=1)

    def plan(self, layout: Layout) -> Plan:
        recipe = self._recipe(layout.strategy)
        index = build_index(recipe, None, self.folder / "cache")
        model = ModelPlan(folder=None, shape=scratch_shape(recipe.model.scratch, index.vocab_size, len(index.labels)))
        machine = Machine(host="here", processor="processor", cores=layout.processes, memory=24 * 10**9)
        return decide(recipe, index, model, place(machine, layout.processes, "cpu"))

    def _recipe(self, strategy: Strategy) -> Recipe:
        size = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 300, "max_positions": 64}
        corpus = {"path": str(self.folder / "corpus" / "train.tsv"), "format": "iob2", "name": "generated"}
        return Recipe.model_validate(
            {
                "name": "elastic",
                "task": "ner",
                "model": {"init": "scratch", "dropout": 0.0, "scratch": size},
                "data": {"max_length": 48, "stride": 8, "labels": LABELS, "train": [corpus]},
                "train": {
                    **{"max_steps": SAVED_AT + NEXT, "global_batch": BATCH, "micro_batch": 3, "learning_rate": 2e-3},
                    **{"weight_decay": 0.1, "max_grad_norm": 1.0},
                },
                "distributed": {"strategy": strategy, "timeout_s": 120},
            }
        )

    def uninterrupted(self, layout: Layout) -> dict[str, Any]:
        """A training that saves on its way to the end."""
        saves = {str(SAVED_AT): str(self.checkpoints(f"{layout}"))}
        return self._job(f"{layout}", layout) | {"saves": saves}

    def resumed(self, saved: Layout, loaded: Layout) -> dict[str, Any]:
        """Goes on in a copy of the run's folder, and saves at once what it was given."""
        name = f"{saved}-{loaded}"
        shutil.copytree(self.run(f"{saved}"), self.run(name))
        recipe = self._recipe(loaded.strategy).model_dump_json()  # JSON is YAML; without it the folder is no run
        RunFolder(self.run(name)).recipe.write_text(recipe, encoding="utf-8")
        saves = {str(SAVED_AT): str(self.checkpoints(name))}
        return self._job(name, loaded) | {"load": str(self.checkpoints(f"{saved}")), "saves": saves}

    def _job(self, name: str, layout: Layout) -> dict[str, Any]:
        plan = self.plan(layout).model_dump(mode="json")
        return {"name": name, "plan": plan, "until": SAVED_AT + NEXT, "run": str(self.run(name))}

    def run(self, name: str) -> Path:
        return self.folder / "runs" / name

    def checkpoints(self, name: str) -> Path:
        return self.folder / "checkpoints" / name

    def train(self, name: str, jobs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """What rank 0 said of each job, by name, once every rank said the same.

        Raises:
            RunFailed: a rank failed, a job failed, or the ranks disagree.
        """
        said = run_group(JOBS, Plan.model_validate(jobs[0]["plan"]), self.folder / "groups" / name, jobs, LIMIT_S)
        if any(one != said[0] for one in said):
            raise RunFailed(f"{name}: the ranks disagree on losses or samples")
        if failed := [f"{job}: {one['error']}" for job, one in said[0].items() if one["error"]]:
            raise RunFailed("; ".join(failed))
        results: dict[str, dict[str, Any]] = said[0]
        return results

    def state_digest(self, name: str) -> str:
        """SHA-256 over step, names, shapes, and every value of weights and moments, in name order.

        Raises:
            RunFailed: there is not one checkpoint, or it does not verify.
        """
        found = checkpoints_in(self.checkpoints(name))
        if len(found) != 1 or (problems := problems_of(found[0].folder)):
            raise RunFailed(f"{self.checkpoints(name)}: {'; '.join(problems) if len(found) == 1 else 'not one step'}")
        digest = hashlib.sha256(str(found[0].step).encode())
        for parameter, pieces in sorted(found[0].manifest.parameters.items()):
            digest.update(f"{parameter}\0{pieces.shape}\0".encode())
            for part in PARTS:
                for values in found[0].read(part, parameter, 0, pieces.count):
                    digest.update(values.data)
        return digest.hexdigest()

    def samples(self, name: str) -> bytes:
        return (self.run(name) / "samples.jsonl").read_bytes()


def measure(trainings: Trainings, missing: Iterable[Pair], out: Path) -> None:
    """Adds a row for each pair.

    Raises:
        RunFailed: a training failed.
    """
    wanted = set(missing)
    trainings.prepare()
    first: dict[str, dict[str, Any]] = {}
    for processes in sorted({saved.processes for saved, _ in wanted}):
        jobs = [trainings.uninterrupted(saved) for saved in layouts(processes) if any(saved == s for s, _ in wanted)]
        first |= trainings.train(f"saved-{processes}", jobs)
        print(f"{processes} processes: {len(jobs)} trainings saved", file=sys.stderr)
    for before, after in product(PROCESSES, PROCESSES):
        pairs = [pair for pair in product(layouts(before), layouts(after)) if pair in wanted]
        if pairs:
            append_rows(out, list(_resume(trainings, pairs, first)))


def _resume(trainings: Trainings, pairs: Sequence[Pair], first: Mapping[str, dict[str, Any]]) -> Iterator[Row]:
    """Rows of pairs that share a number of processes to save and one to go on with."""
    began = time.perf_counter()
    (before,), (after,) = ({layout.processes for layout in side} for side in zip(*pairs, strict=True))
    said = trainings.train(f"resumed-{before}-{after}", [trainings.resumed(*pair) for pair in pairs])
    seconds = time.perf_counter() - began
    print(f"{before} to {after} processes: {len(pairs)} trainings resumed in {seconds:.0f} s", file=sys.stderr)
    for saved, loaded in pairs:
        one, other = f"{saved}", f"{saved}-{loaded}"
        uninterrupted, resumed = (np.array(told["losses"][-NEXT:]) for told in (first[one], said[other]))
        yield Row(
            commit=measured_commit(),
            saved=saved,
            loaded=loaded,
            same_state=trainings.state_digest(one) == trainings.state_digest(other),
            same_samples=trainings.samples(one) == trainings.samples(other),
            losses=len(resumed),
            loss_difference=float(np.abs(resumed / uninterrupted - 1).max()),
            time=time.time(),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; outside the clone, or in runs/")
    parser.add_argument("--markdown", type=Path, help="writes the table there as well")
    parser.add_argument("--folder", type=Path, help="for runs and checkpoints, deleted at the end; a temporary one")
    arguments = parser.parse_args()
    try:
        commit = measured_commit()
        wanted = list(product(layouts(), layouts()))
        missing = [pair for pair in wanted if pair not in read_rows(arguments.out, commit)]
        if missing:
            with TemporaryDirectory(prefix="elastic-", dir=arguments.folder) as folder:
                measure(Trainings(Path(folder)), missing, arguments.out)
        known = read_rows(arguments.out, commit)
        rows = [known[pair] for pair in wanted]
        table = markdown(rows, SAVED_AT, NEXT, typed_command())
        print(table, end="")
        if arguments.markdown:
            arguments.markdown.write_text(table, encoding="utf-8")
        if failed := [row for row in rows if not row.holds]:
            names = ", ".join(f"{row.saved} to {row.loaded}" for row in failed)
            raise SomeFailed(f"{len(failed)} of {len(rows)} pairs are not as they must be ({CLOSE:.0e}): {names}")
    except BiodistError as error:
        print(f"elastic: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
