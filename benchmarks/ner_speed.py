"""Real tokens a second: ``biodist train`` against the Hugging Face Trainer, in turns, on the NCBI disease corpus.

usage: ner_speed.py --out FILE.jsonl [--markdown FILE.md] [--steps N] [--batch N] [--repetitions N]

Five variants: the Trainer in fp32, grouped by length, and in bf16; biodist in fp32 and bf16. One process, the same
encoder, sentences, batch, steps, learning rate and threads. Timed is training alone: for the Trainer ``train()`` from
its first step on, for biodist the time from the start of training to the end of its last step; nothing is scored or
saved in between.
Every case is written to FILE.jsonl when it is done; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import TAIL, encoder_overrides, read_training, train, training_only
from material import SPLITS, Material, add_arguments, material, measured_commit, typed_command
from speed_rows import Case, Row, Settings, append_row, cases, read_rows
from speed_table import NAMES, markdown

from biodist.errors import BiodistError, RunFailed
from biodist.plan.machine import Machine

LEARNING_RATE = 1e-4
SCORED = 16  # sentences of devel and test, which the peer scores after the time is taken
CASE_LIMIT_S = 3600


@dataclass(frozen=True)
class Measured:
    """What a case came to, and how it really ran."""

    tokens: int
    seconds: float
    steps: int
    threads: int
    precision: str  # fp32 or bf16
    said: float | None = None
    setup_seconds: float | None = None


def peer_case(case: Case, given: Material, folder: Path) -> Measured:
    """The Trainer, through the peer's script."""
    settings = case.settings
    data = folder / "data"
    data.mkdir()
    for split in SPLITS:
        text = given.split(split).read_text(encoding="utf-8")
        (data / f"{split}.tsv").write_text(text if split == "train" else first_sentences(text), encoding="utf-8")
    bf16 = ["--bf16"] if case.variant.endswith("bf16") else []
    group = ["--group"] if case.variant.endswith("grouped") else []
    command = [sys.executable, str(Path(__file__).with_name("peer.py")), *bf16, str(given.peer), "--"]
    command += [str(given.encoder), str(data), str(folder / "trainer"), "--batch", str(settings.batch)]
    command += ["--max-steps", str(settings.steps), "--lr", str(settings.learning_rate), *group]
    threads = {name: str(settings.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads, timeout=CASE_LIMIT_S)
    if done.returncode:
        raise RunFailed(f"the peer ended with {done.returncode}\n{done.stderr[-TAIL:]}")
    said, counted = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    if counted["weights"] != "torch.float32":
        raise RunFailed(f"the peer trains weights of {counted['weights']}, must be torch.float32")
    precision = "fp32" if counted["precision"] == "no" else counted["precision"]
    return Measured(
        counted["tokens"],
        said["train_s"] - counted["setup_seconds"],
        counted["steps"],
        counted["threads"],
        precision,
        said["real_tokens_per_s"],
        counted["setup_seconds"],
    )


def first_sentences(text: str) -> str:
    """The first sentences of an IOB file: enough for a script that insists on scoring."""
    return "\n\n".join(text.split("\n\n")[:SCORED]) + "\n"


def biodist_case(case: Case, given: Material, folder: Path) -> Measured:
    """The harness, as a person starts it."""
    settings = case.settings
    precision = case.variant.removeprefix("biodist-")
    only = training_only(
        given.split("train"), settings.steps, settings.batch, settings.learning_rate, precision=precision
    )
    training = read_training(train(folder / "run", [*encoder_overrides(given), *only], folder / "log"))
    plan = training.plan
    return Measured(
        training.tokens, training.seconds, len(training.steps), plan.machine.threads_per_process, plan.precision
    )


def measure(case: Case, given: Material) -> Row:
    """Runs one case in folders of its own.

    Raises:
        RunFailed: it failed, ran with other steps, threads or precision than the case says, or the clone changed.
    """
    with TemporaryDirectory(prefix="ner-speed-") as folder:
        run = peer_case if case.variant.startswith("trainer") else biodist_case
        measured = run(case, given, Path(folder))
    precision = "bf16" if case.variant.endswith("bf16") else "fp32"
    wanted = (case.settings.steps, case.settings.threads, precision)
    if (measured.steps, measured.threads, measured.precision) != wanted:
        raise RunFailed(f"{case.variant}: steps, threads, precision must be {wanted}, but it was {measured}")
    if measured_commit() != case.commit:
        raise RunFailed(f"{case.variant}: the clone changed while it was measured; start again")
    return Row(
        case=case,
        tokens=measured.tokens,
        seconds=measured.seconds,
        setup_seconds=measured.setup_seconds,
        said_tokens_per_second=measured.said,
        time=time.time(),
    )


def settings_of(given: Material, steps: int, batch: int) -> Settings:
    machine = Machine.here()
    return Settings(
        steps=steps,
        batch=batch,
        learning_rate=LEARNING_RATE,
        threads=machine.cores,
        processor=machine.processor,
        encoder=digest(given.encoder / "model.safetensors"),
        corpus=digest(given.split("train")),
        peer=digest(given.peer),
    )


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; outside the clone, or in runs/")
    parser.add_argument("--markdown", type=Path, help="writes the tables there as well")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    try:
        given = material(arguments)
        settings = settings_of(given, arguments.steps, arguments.batch)
        wanted = list(cases(arguments.repetitions, measured_commit(), settings))
        known = read_rows(arguments.out)
        for case in wanted:
            if case not in known:
                known[case] = measure(case, given)
                append_row(arguments.out, known[case])
                speed = known[case].tokens_per_second
                print(f"{case.repetition}/{arguments.repetitions} {NAMES[case.variant]}: {speed:,.0f}", file=sys.stderr)
    except BiodistError as error:
        print(f"ner_speed: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    table = markdown([known[case] for case in wanted], typed_command())
    print(table, end="")
    if arguments.markdown:
        arguments.markdown.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
