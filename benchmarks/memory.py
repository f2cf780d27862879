"""The memory plan against what processes take: growth of peak resident memory since just before the model is built.

usage: memory.py --out FILE.jsonl [--markdown FILE.md] [--models NAME …] [--lengths N …] [--also] [--task nli]
       [--malloc default]

Each case trains two steps in fresh processes with what the worker uses: its model, engine, arrangement and update. The
first makes Adam's moments, the second has all there is. Models are of random weights in real shapes; windows have one
length, so that every step is the largest. Of the ranks the one that grew most counts. `--also` measures more than the
table of the goal: one process, ZeRO-1, bf16, offload, lengths that differ. Every case is written to FILE.jsonl when it
is done; the same command goes on. CPU only: on GPUs `gpu.py` compares `max_memory_allocated`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from material import measured_commit, typed_command
from memory_rows import LAYERS_OF, Case, Grown, Malloc, ModelName, Row, read_rows
from memory_table import markdown
from state_group import run_group

from biodist.config.recipe import Recipe
from biodist.data.indexing import build_index
from biodist.errors import BiodistError
from biodist.plan.decide import decide, place
from biodist.plan.machine import Machine
from biodist.plan.plan import ModelPlan, Plan
from biodist.plan.shape import head_of, scratch_shape
from biodist.run.durable import JsonLines
from biodist.run.provenance import Commit

RANKS = Path(__file__).with_name("memory_ranks.py")
VOCABULARY = 30522  # word pieces, of BERT uncased
STEPS = 2
GLOBAL_BATCH = 32
TOKENS = 2048  # of a micro-batch
SPECIAL = {"ner": 2, "nli": 3}  # tokens around a window
LABELS = {"ner": ["Disease"], "nli": ["entailment", "neutral", "contradiction"]}
LIMIT_S = 1800
EXACT = {"MALLOC_MMAP_THRESHOLD_": str(2**16)}
FORMAT = {"ner": "iob2", "nli": "jsonl"}
WORDS = "abcdefghijklmnopqrstuvwxyz"  # one letter is one piece in any vocabulary


def goal(models: Sequence[ModelName], lengths: Sequence[int]) -> Iterator[Case]:
    """The cases that the plan must meet."""
    for model in models:
        for length in lengths:
            for strategy, checkpointing in (("ddp", False), ("zero2", False), ("zero3", False), ("ddp", True)):
                yield Case(model=model, shortest=length, longest=length, strategy=strategy, checkpointing=checkpointing)


def more(models: Sequence[ModelName], lengths: Sequence[int]) -> Iterator[Case]:
    """Further ones, at the middle length."""
    length = sorted(lengths)[len(lengths) // 2]
    for model in models:
        case = Case(model=model, shortest=length, longest=length, strategy="ddp")
        yield case.model_copy(update={"processes": 1})
        yield case.model_copy(update={"shortest": length // 4})
        for strategy in ("ddp", "zero2", "zero3"):
            yield case.model_copy(update={"strategy": strategy, "precision": "bf16"})
        yield case.model_copy(update={"strategy": "zero1"})
        for strategy in ("zero2", "zero3"):
            yield case.model_copy(update={"strategy": strategy, "checkpointing": True})
            yield case.model_copy(update={"strategy": strategy, "offload": "cpu"})


def plan_of(case: Case, folder: Path, machine: Machine) -> Plan:
    """The case's plan; its corpus and index are written to ``folder``."""
    corpus = folder / f"{case.shortest}-{case.longest}.{FORMAT[case.task]}"
    lengths = [case.shortest + n * (case.longest - case.shortest) // (GLOBAL_BATCH - 1) for n in range(GLOBAL_BATCH)]
    if not corpus.exists():
        write = _sentence if case.task == "ner" else _pair
        corpus.write_text("\n".join(map(write, lengths)), encoding="utf-8")
    recipe = _recipe(case, corpus)
    index = build_index(recipe, None, folder / "index")
    counted = index.splits["train"].lengths
    assert counted == {length: lengths.count(length) for length in lengths}, counted
    index = index.model_copy(update={"vocab_size": VOCABULARY})
    shape = scratch_shape(recipe.model.scratch, VOCABULARY, len(index.labels), head_of(case.task))
    model = ModelPlan(folder=None, shape=shape)
    return decide(recipe, index, model, place(machine, case.processes, "cpu"))


def _sentence(length: int) -> str:
    words = _words(length - SPECIAL["ner"])
    return "".join(f"{word}\t{'B-Disease' if place % 9 == 0 else 'O'}\n" for place, word in enumerate(words))


def _pair(length: int) -> str:
    words = _words(length - SPECIAL["nli"])
    half = len(words) // 2
    sides = {"sentence1": " ".join(words[:half]), "sentence2": " ".join(words[half:])}
    return json.dumps({**sides, "gold_label": LABELS["nli"][length % 3]})


def _words(count: int) -> list[str]:
    return [WORDS[place % len(WORDS)] for place in range(count)]


def _recipe(case: Case, corpus: Path) -> Recipe:
    layers, hidden, heads, wide = LAYERS_OF[case.model]
    scratch = {"layers": layers, "hidden_size": hidden, "heads": heads, "intermediate_size": wide}
    return Recipe.model_validate(
        {
            "name": "memory",
            "task": case.task,
            "model": {
                "init": "scratch",
                "scratch": scratch,
                "dropout": 0.1,
                "activation_checkpointing": case.checkpointing,
            },
            "data": {
                "labels": LABELS[case.task],
                "train": [{"path": str(corpus), "format": FORMAT[case.task], "name": "letters"}],
            },
            "train": {
                "max_steps": STEPS,
                "global_batch": GLOBAL_BATCH,
                "micro_batch": max(1, TOKENS // case.longest),
                "precision": case.precision,
            },
            "distributed": {"strategy": case.strategy, "offload": case.offload},
        }
    )


def measure(case: Case, plan: Plan, folder: Path, commit: Commit, malloc: Malloc) -> Row:
    """Trains the case.

    Raises:
        RunFailed: a process failed.
    """
    argument = {"plan": plan.model_dump(mode="json")}
    grown = run_group(RANKS, plan, folder / case.name, argument, LIMIT_S)
    train = plan.recipe.train
    share = -(-train.global_batch // case.processes)
    return Row(
        commit=commit,
        case=case,
        malloc=malloc,
        tokens=case.longest * min(share, plan.batch.micro_batch),
        micro_batches=-(-share // plan.batch.micro_batch),
        planned=plan.memory,
        ranks=tuple(Grown.model_validate(rank) for rank in grown),
        time=time.time(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; outside the clone, or in runs/")
    parser.add_argument("--markdown", type=Path, help="writes the tables there as well")
    parser.add_argument("--models", nargs="+", choices=get_args(ModelName), default=["minilm", "bert-base"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[32, 128, 512])
    parser.add_argument("--also", action="store_true", help="one process, ZeRO-1, bf16, offload, unequal lengths too")
    parser.add_argument(
        "--task", choices=list(SPECIAL), default="ner", help="what the head says: of tokens, or of pairs"
    )
    parser.add_argument("--only", nargs="+", help="names of cases, as in the rows")
    parser.add_argument("--malloc", choices=get_args(Malloc), default="exact", help="how glibc treats freed memory")
    arguments = parser.parse_args()
    cases = [*goal(arguments.models, arguments.lengths)]
    cases += [*more(arguments.models, arguments.lengths)] if arguments.also else []
    cases = [case.model_copy(update={"task": arguments.task}) for case in cases]
    cases = [case for case in cases if not arguments.only or case.name in arguments.only]
    try:
        rows = conduct(cases, arguments.out, arguments.malloc)
    except BiodistError as error:
        print(f"memory: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    table = markdown(rows, typed_command())
    print(table, end="")
    if arguments.markdown:
        arguments.markdown.write_text(table, encoding="utf-8")


def conduct(cases: Sequence[Case], out: Path, malloc: Malloc) -> list[Row]:
    """The row of each case, measured unless it is on record.

    Raises:
        MachineCannot: a case does not fit into this machine's memory.
        RunFailed: a process failed.
    """
    if malloc == "exact":
        os.environ.update(EXACT)  # the ranks inherit it
    out.parent.mkdir(parents=True, exist_ok=True)
    machine, commit = Machine.here(), measured_commit()
    done = read_rows(out, commit, malloc)
    with TemporaryDirectory(prefix="memory-", dir=out.parent) as own:
        for case in (case for case in cases if case.name not in done):
            done[case.name] = measure(case, plan_of(case, Path(own), machine), Path(own), commit, malloc)
            with JsonLines(out) as lines:
                lines.append(done[case.name].model_dump(mode="json"))
            print(f"{case.name}: grew {done[case.name].growth / 1e6:,.0f} MB", file=sys.stderr, flush=True)
    return [done[case.name] for case in cases]


if __name__ == "__main__":
    main()
