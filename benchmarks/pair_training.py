"""A training on pairs of sentences under measurement, ours or the Trainer's: tokens, seconds and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from campaign.ledger import Ledger, Row, conduct
from material import commit_label, measured_commit, typed_command

from biodist.errors import BiodistError, RunFailed
from biodist.metrics.events import StepEvent, read_events
from biodist.plan.plan import Plan, read_plan
from biodist.run.durable import read_json_lines
from biodist.run.folder import RunFolder

TAIL = 2000  # characters of a log that a failure shows
LIMIT_S = 3600
NO_SAVES = 1_000_000  # steps


@dataclass(frozen=True)
class Speed:
    """Steps after the first ``warm`` ones: tokens of all processes, padding not counted, and the wall time."""

    tokens: int
    seconds: float
    steps: int
    world_size: int
    threads: int
    precision: str
    peak_memory_bytes: int  # of the process with most: resident on a CPU, libraries included; allocated on a GPU

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Trainer:
    """How the Trainer is set."""

    processes: int = 1
    precision: str = "fp32"
    grouped: bool = False
    max_length: int = 512


def trainer_speed(
    how: Trainer, model: Path, pairs: Path, folder: Path, global_batch: int, steps: int, warm: int, threads: int
) -> Speed:
    """Runs `trainer_pairs.py` under torchrun where there are several processes.

    Raises:
        RunFailed: it failed, or ran with other steps or precision than asked for.
    """
    script = [str(Path(__file__).with_name("trainer_pairs.py")), str(model), str(pairs), str(folder / "trainer")]
    script += ["--batch", str(global_batch // how.processes), "--steps", str(steps)]
    script += ["--max-length", str(how.max_length)]
    script += ["--bf16"] * (how.precision == "bf16") + ["--group"] * how.grouped
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(how.processes)]
    command = [sys.executable, *(launch if how.processes > 1 else []), *script]
    each = {name: str(max(1, threads // how.processes)) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | each, timeout=LIMIT_S)
    if done.returncode:
        raise RunFailed(f"the Trainer ended with {done.returncode}\n{done.stderr[-TAIL:]}")
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"rank"')]
    if len(said) != how.processes or any(len(each["times"]) != steps for each in said):
        raise RunFailed(f"the Trainer must do {steps} steps in {how.processes} processes, but said {len(said)} times")
    if any(each["precision"] != how.precision or each["weights"] != "torch.float32" for each in said):
        raise RunFailed("the Trainer ran in another precision than it was asked for")
    return Speed(
        tokens=sum(sum(each["tokens"][warm:]) for each in said),
        seconds=max(each["times"][-1] for each in said) - max(each["times"][warm - 1] for each in said),
        steps=steps - warm,
        world_size=said[0]["world_size"],
        threads=said[0]["threads"],
        precision=said[0]["precision"],
        peak_memory_bytes=max(each["peak_memory_bytes"] for each in said),
    )


def biodist_run(run: Path, recipe: Path, overrides: Sequence[str], processes: int) -> RunFolder:
    """Trains as a person starts it; nothing is scored, and only the last step is saved.

    Raises:
        RunFailed: the command did not end with 0; with the end of what it said.
    """
    quiet = (f"checkpoint.every_steps={NO_SAVES}", "checkpoint.keep_best=0", "evaluate.test=false")
    command = [sys.executable, "-m", "biodist.cli", "train", str(recipe), *quiet, *overrides]
    command += ["--run", str(run), "--nproc", str(processes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        raise RunFailed(f"biodist train ended with {done.returncode}\n{(done.stdout + done.stderr)[-TAIL:]}")
    return RunFolder(run.absolute())


def biodist_speed(run: RunFolder, warm: int) -> tuple[Speed, Plan]:
    """What the only attempt of a run says of itself.

    Raises:
        RunFailed: the run has several attempts, so that no one stretch of time holds its steps.
    """
    attempts = run.attempts()
    if len(attempts) != 1:
        raise RunFailed(f"{run.root}: {len(attempts)} attempts, must be one")
    plan = read_plan(attempts[0].plan)
    steps = [event for event in read_events(attempts[0].events(0)) if isinstance(event, StepEvent)]
    paces = [
        line
        for rank in range(plan.machine.world_size)
        for line in read_json_lines(attempts[0].events(rank))
        if line["kind"] == "pace"
    ]
    speed = Speed(
        tokens=sum(step.tokens for step in steps[warm:]),
        seconds=steps[-1].time - steps[warm - 1].time,
        steps=len(steps) - warm,
        world_size=plan.machine.world_size,
        threads=plan.machine.threads_per_process,
        precision=plan.precision,
        peak_memory_bytes=max(pace["peak_memory_bytes"] for pace in paces),
    )
    return speed, plan


def compare(
    name: str,
    out: Path,
    markdown: Path | None,
    cases_in: Callable[[Path, str], Sequence[tuple[str, Callable[[], Row]]]],
    report: Callable[[Sequence[Row], str], str],
) -> NoReturn:
    """Measures the cases that have no row yet, prints the report of all, and ends the process.

    ``cases_in`` is given a folder of their own and the commit's label.
    """
    try:
        label = commit_label(measured_commit()).removeprefix("commit ")
        ledger = Ledger(out)
        with TemporaryDirectory(prefix=f"{name}-") as folder:
            cases = cases_in(Path(folder), label)
            code = conduct(ledger, cases, None, "measured")
        wanted = {case for case, _ in cases}
        text = report([row for row in ledger.rows() if row["case"] in wanted], typed_command())
    except BiodistError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(text, end="")
    if markdown:
        markdown.write_text(text, encoding="utf-8")
    raise SystemExit(code)


def encoder_of(run: RunFolder, folder: Path) -> Path:
    """A folder with the run's config and tokenizer, for the Trainer: the same shape and the same tokens."""
    if not (run.encoder / "config.json").is_file():
        raise RunFailed(f"{run.root}: holds no encoder")
    folder.mkdir(parents=True, exist_ok=True)
    for path in run.encoder.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder
