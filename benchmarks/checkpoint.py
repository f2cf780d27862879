"""What a checkpoint costs: save, restore and the loop's stall, against DeepSpeed, dd and a plain copy, in turns.

usage: checkpoint.py --out FILE.jsonl [--markdown FILE.md] [--layers N] [--hidden N] [--repetitions N] [--folder DIR]

A BERT of random weights with both Adam moments under ZeRO-2 in two processes; by default BERT-large (334 M parameters,
4 GB of state). Saved by biodist (from the start to the rename: written, hashed, synced), by DeepSpeed's
``save_checkpoint`` with an fsync of every file and folder it wrote, and by ``dd conv=fsync`` from a checkpoint's files
in the page cache, a process a file. Restored by biodist (every byte proven on the way, the state compared after) and by
DeepSpeed, from the page cache and from the disk. The stall is a snapshot into memory that is there, against ``copy_``
of the same bytes between two tensors, by as many threads.
Every case is written to FILE.jsonl when it is done; the same command goes on with the repetitions that are not whole.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from material import measured_commit, typed_command
from state_group import run_group
from state_rows import Settings, read_repetitions
from state_table import markdown

from biodist.config.recipe import Recipe, ScratchSize
from biodist.errors import BiodistError, MachineCannot
from biodist.plan.decide import decide, place
from biodist.plan.index import DataIndex, SplitIndex
from biodist.plan.machine import Machine
from biodist.plan.plan import ModelPlan, Plan
from biodist.plan.shape import scratch_shape

RANKS = Path(__file__).with_name("state_ranks.py")
VOCABULARY = 28996  # tokens, of BERT-large cased
LABELS = ("O", "B-Disease", "I-Disease")
PROCESSES = 2
LIMIT_S = 3600
ROOM = 4  # checkpoints that lie on the disk at once, DeepSpeed's larger one counted twice


def plan_of(layers: int, hidden: int, machine: Machine) -> Plan:
    """ZeRO-2 on two processes; of the data no more than a plan needs.

    Raises:
        MachineCannot: weights, gradients and moments do not fit into memory.
    """
    size = ScratchSize(
        layers=layers,
        hidden_size=hidden,
        heads=max(1, hidden // 64),
        intermediate_size=4 * hidden,
        vocab_size=VOCABULARY,
        max_positions=512,
    )
    recipe = Recipe.model_validate(
        {
            "name": "checkpoint-cost",
            "task": "ner",
            "model": {"init": "scratch", "scratch": size.model_dump()},
            "data": {"labels": ["Disease"], "train": [{"path": "none.tsv"}]},
            "train": {"max_steps": 1, "global_batch": 1},
            "distributed": {"strategy": "zero2"},
        }
    )
    split = SplitIndex(samples=1, windows=1, tokens=16, targets=14, lengths={16: 1}, types={})
    index = DataIndex(
        fingerprint="none", store="", tokenizer="", labels=LABELS, vocab_size=VOCABULARY, splits={"train": split}
    )
    model = ModelPlan(folder=None, shape=scratch_shape(size, VOCABULARY, len(LABELS)))
    return decide(recipe, index, model, place(machine, PROCESSES, "cpu"))


def settings_of(plan: Plan, machine: Machine) -> Settings:
    shape, where = plan.model.shape, plan.machine
    return Settings(
        layers=shape.layers,
        hidden_size=shape.hidden_size,
        parameters=shape.parameters,
        strategy=plan.strategy,
        processes=where.world_size,
        threads=where.threads_per_process,
        processor=machine.processor,
    )


def measure(plan: Plan, settings: Settings, out: Path, repetitions: list[int], folder: Path) -> None:
    """Adds the rows of these repetitions.

    Raises:
        MachineCannot: the disk has too little room.
        RunFailed: a process failed.
    """
    needed, free = ROOM * plan.disk.checkpoint, shutil.disk_usage(folder).free
    if free < needed:
        raise MachineCannot(f"{folder} has {free / 1e9:.1f} GB free, must have {needed / 1e9:.1f}: use --folder")
    argument = {
        "plan": plan.model_dump(mode="json"),
        "out": str(out.absolute()),
        "commit": measured_commit().model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "repetitions": repetitions,
    }
    with TemporaryDirectory(prefix="checkpoint-cost-", dir=folder) as own:
        run_group(RANKS, plan, Path(own) / "group", argument, LIMIT_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; outside the clone, or in runs/")
    parser.add_argument("--markdown", type=Path, help="writes the tables there as well")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; by default where --out is")
    arguments = parser.parse_args()
    wanted = range(1, arguments.repetitions + 1)
    out: Path = arguments.out
    try:
        machine = Machine.here()
        plan = plan_of(arguments.layers, arguments.hidden, machine)
        settings, commit = settings_of(plan, machine), measured_commit()
        out.parent.mkdir(parents=True, exist_ok=True)
        missing = [n for n in wanted if n not in read_repetitions(out, commit, settings)]
        if missing:
            measure(plan, settings, out, missing, arguments.folder or out.parent)
        whole = read_repetitions(out, commit, settings)
    except BiodistError as error:
        print(f"checkpoint: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    table = markdown([whole[number] for number in wanted if number in whole], typed_command())
    print(table, end="")
    if arguments.markdown:
        arguments.markdown.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
