"""Runs on a Slurm cluster beside the same runs here: samples, losses, weights, and what a preemption costs.

usage: cluster.py --out FILE.jsonl --folder FOLDER [--on PROFILE] [--nodes 2] [--nproc 2] [--steps 200] [--markdown]

Cases: the quickstart; NCBI-disease with all-MiniLM-L6-v2; the same, preempted three times by a job of the partition
`high` as its steps pass a quarter, a half and three quarters; what `biodist submit` itself takes. A row a case, and a
campaign that was stopped goes on after its last one. Needs a living cluster (`slurm/devcluster up`, and its `env`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from campaign.ledger import Ledger, Row, markdown
from campaign.verdict import differences
from material import Material, add_arguments, commit_label, material, measured_commit

from biodist.cli.quickstart import prepare_corpus
from biodist.errors import BiodistError, RunFailed
from biodist.run.durable import read_json_lines
from biodist.run.folder import RunFolder
from biodist.run.jobs import Submission
from biodist.run.records import AttemptRecord, Result

LIMIT_S = 1500.0
SUBMISSIONS = 5


@dataclass(frozen=True)
class Site:
    """Where runs are made, and how large."""

    folder: Path
    on: str
    nodes: int
    nproc: int
    steps: int
    given: Material

    def quickstart(self) -> list[str]:
        prepare_corpus(self.folder / "quickstart-data")
        return ["quickstart", "distributed.strategy=zero2"]

    def ncbi(self) -> list[str]:
        paths = {"train": "train", "validation": "devel", "test": "test"}
        return [
            *("ncbi-disease", "distributed.strategy=zero2", f"model.name={self.given.encoder}", "data.max_length=256"),
            *(f"data.{key}.0.path={self.given.split(split)}" for key, split in paths.items()),
            *("train.epochs=null", f"train.max_steps={self.steps}", "train.global_batch=16", "train.precision=fp32"),
            *("train.learning_rate=2e-4", "checkpoint.every_steps=50", "evaluate.test=false"),
            f"evaluate.every={self.steps}",
        ]

    def biodist(self, *words: str) -> str:
        """Runs a command of biodist to its end. Raises RunFailed."""
        command = [sys.executable, "-m", "biodist.cli", *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode != 0:
            raise RunFailed(f"biodist {' '.join(words)}: exit code {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def here(self, name: str, recipe: Sequence[str]) -> RunFolder:
        """The run on this machine, made once, with as many processes."""
        run = self.folder / "here" / name
        self.biodist("train", *recipe, "--run", str(run), "--nproc", str(self.nodes * self.nproc), "--device", "cpu")
        return RunFolder(run)

    def submit(self, name: str, recipe: Sequence[str]) -> RunFolder:
        run = self.folder / "cluster" / name
        where = ("--on", self.on, "--nodes", str(self.nodes), "--nproc", str(self.nproc), "--run", str(run))
        self.biodist("submit", *recipe, *where)
        return RunFolder(run)


def plain(site: Site, name: str, recipe: Sequence[str]) -> Row:
    """Submitted, followed, finished; compared with the run here."""
    here = site.here(name, recipe)
    began = time.monotonic()
    run = site.submit(name, recipe)
    wait(lambda: finished(run), f"{run.root} did not finish")
    return {**compared(run, here), "seconds": round(time.monotonic() - began, 1)}


def preempted(site: Site, name: str, recipe: Sequence[str]) -> Row:
    """Three times, for real: a job of higher priority takes all nodes."""
    here = site.here("ncbi", recipe)
    run = site.submit(name, recipe)
    waits = []
    for share in (0.25, 0.5, 0.75):
        wait(lambda share=share: last_step(run) >= share * site.steps, "the step was not reached")  # type: ignore[misc]
        attempts = len(run.attempts())
        hog = slurm("sbatch", "--parsable", "--partition=high", "--exclusive", "--nodes=4", "--wrap=sleep 600").strip()
        wait(lambda: said_to_stop(run), "nobody heard a signal")
        asked = time.monotonic()
        wait(lambda attempts=attempts: ended(run) >= attempts, "the attempt did not end")  # type: ignore[misc]
        waits.append(round(time.monotonic() - asked, 1))
        slurm("scancel", hog)
        wait(lambda attempts=attempts: len(run.attempts()) > attempts, "the job did not come back")  # type: ignore[misc]
    wait(lambda: finished(run), f"{run.root} did not finish")
    records = [AttemptRecord.load(attempt.record) for attempt in run.attempts()]
    signals = sorted({record.stopped_by for record in records if record.stopped_by})
    return {**compared(run, here), "attempts": len(records), "signals": signals, "from_signal_to_end_s": waits}


def submission(site: Site, name: str, recipe: Sequence[str]) -> Row:
    """The command alone, its index being there: five times, each cancelled."""
    took = []
    for number in range(SUBMISSIONS):
        began = time.monotonic()
        run = site.submit(f"{name}-{number}", recipe)
        took.append(round(time.monotonic() - began, 2))
        job = Submission.load(run.jobs()[-1].submission).current
        slurm("scancel", job.job_id if job else "")
    return {"submit_s": took, "median_s": median(took)}


def compared(run: RunFolder, here: RunFolder) -> Row:
    """What is equal, and the largest relative difference of a step's loss."""
    ours, theirs = losses(run), losses(here)
    relative = max((abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)), default=0.0)
    return {
        "steps": len(ours),
        "equal_samples": run.samples.read_bytes() == here.samples.read_bytes(),
        "equal_weights": Result.load(run.result).weights_sha256 == Result.load(here.result).weights_sha256,
        "largest_relative_loss_difference": relative,
        "differences": differences(run, here),
    }


def losses(run: RunFolder) -> list[float]:
    return [line["loss"] for line in read_json_lines(run.metrics) if line["split"] == "train"]


def last_step(run: RunFolder) -> int:
    attempts = run.attempts()
    steps = (
        [event["step"] for event in read_json_lines(attempts[-1].events(0)) if event["kind"] == "step"]
        if attempts
        else []
    )
    return max(steps, default=0)


def said_to_stop(run: RunFolder) -> bool:
    logs = run.jobs()[-1].root.glob("*_0_log.out")
    return sum(log.read_text().count("stopping after this step") for log in logs) >= len(run.attempts())


def ended(run: RunFolder) -> int:
    records = [AttemptRecord.load(attempt.record) for attempt in run.attempts() if attempt.record.exists()]
    return sum(record.outcome != "running" for record in records)


def finished(run: RunFolder) -> bool:
    return run.result.exists() and Result.load(run.result).status == "finished" and not run.lease.exists()


def wait(there: Callable[[], bool], otherwise: str) -> None:
    """Raises RunFailed when it does not come."""
    until = time.monotonic() + LIMIT_S
    while not there():
        if time.monotonic() > until:
            raise RunFailed(otherwise)
        time.sleep(0.1)


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def table(rows: Sequence[Row]) -> str:
    head = ("case", "steps", "samples", "weights", "largest difference of a loss", "s from signal to end", "commit")
    return markdown(head, (tuple(_cells(row)) for row in rows))


def _cells(row: Row) -> Iterator[object]:
    yield row["case"]
    if "submit_s" in row:
        yield from ("", "", "", "", f"submit: {row['median_s']} s ({min(row['submit_s'])} to {max(row['submit_s'])})")
    else:
        yield row["steps"]
        yield "identical" if row["equal_samples"] else "NOT identical"
        yield "equal to the bit" if row["equal_weights"] else "not equal"
        yield f"{row['largest_relative_loss_difference']:.1e}"
        yield ", ".join(f"{wait} ({'/'.join(row['signals'])})" for wait in row.get("from_signal_to_end_s", ()))
    yield row["commit"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="rows")
    parser.add_argument("--folder", type=Path, help="runs; must be seen from the nodes")
    parser.add_argument("--on", default="devcluster")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--nproc", type=int, default=2, help="processes on a node")
    parser.add_argument("--steps", type=int, default=200, help="of NCBI-disease")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--markdown", action="store_true", help="print the table of --out, run nothing")
    options = parser.parse_args()
    ledger = Ledger(options.out)
    if options.markdown:
        print(table(ledger.rows()))
        return 0
    folder = (options.folder or options.out.with_suffix("")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    site = Site(folder, options.on, options.nodes, options.nproc, options.steps, material(options))
    cases = {
        "quickstart": lambda name: plain(site, name, site.quickstart()),
        "ncbi": lambda name: plain(site, name, site.ncbi()),
        "ncbi-preempted": lambda name: preempted(site, name, site.ncbi()),
        "submit": lambda name: submission(site, name, site.ncbi()),
    }
    for name, case in cases.items():
        if name in ledger.done() or options.only not in name:
            continue
        ledger.add({"case": name, **case(name), "commit": commit_label(measured_commit())})
        print(table(ledger.rows()[-1:]), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BiodistError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
