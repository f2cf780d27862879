"""Many runs to one tree: seconds, processor time and memory, against tensorboard-reducer on the same files.

usage: aggregate.py --out FILE.jsonl --folder DIR [--peer PYTHON] [--runs N] [--peer-runs N] [--markdown FILE.md]

Makes, once, below DIR: N runs x 1,000 steps x 10 scalars as event files (a record a scalar, as SummaryWriter writes
them), and as many runs of ours. Then, each case a process of its own: the first tree of either kind, grouped, with an
empty tree before; a second call after 10 runs grew; a call with nothing new; and `tb-reducer` (of the environment that
PYTHON belongs to, with tensorboard-reducer 0.4.0 in it) with mean, std, min and max over --peer-runs of the event
files. Files are in the page cache for all of them. Memory is the most that the process and its children held at one
time, as the sum of their proportional shares. A case on record for this commit is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
from material import commit_label, measured_commit, typed_command

from biodist.aggregation.event_encoding import opening, scalar_records, summary_record
from biodist.aggregation.hyper_parameters import session_start
from biodist.aggregation.series import Series
from biodist.errors import BiodistError, RunFailed
from biodist.run.durable import JsonLines, read_json_lines
from biodist.run.folder import RunFolder
from biodist.run.provenance import Commit
from biodist.run.records import AttemptRecord, Record, Result

STEPS, TAGS, GROWN, MORE = 1000, 10, 10, 100
OWN_POINTS = STEPS * (7 + 15) + 4 * STEPS // 100  # of a step, of its ranks' paces in three reductions, of scores
LOOK_S = 0.02
GOAL_FASTER, GOAL_MB, GOAL_SECOND_S = 40, 300, 3.0


class Row(Record):
    """One case. Seconds by the clock, from the start of the process to its end, and of all its processors."""

    commit: Commit
    case: str
    runs: int
    points: int
    seconds: float
    processor_seconds: float
    peak_mb: float  # 10^6 bytes
    machine_load: float  # of the machine, before: above 0 others were at work
    cores: int


def foreign_run(folder: Path, seed: int, first: int, last: int, head: bool) -> None:
    """A file of the steps from `first` to `last`, or these at the file's end."""
    draw = np.random.default_rng(seed * 7919 + first)
    steps = np.arange(first, last + 1)
    times = 1.7e9 + steps[:, None] + np.arange(TAGS) / 1000
    # Records of steps with as many bytes are of one length: blocks of them are laid side by side, tag by tag.
    parts = []
    for size in (steps[steps < 128], steps[steps >= 128]):
        chosen = slice(int(size[0] - first), int(size[-1] - first) + 1) if len(size) else slice(0, 0)
        if len(size):
            columns = [
                np.frombuffer(
                    scalar_records({f"scalar/number_{tag}": Series(size, draw.random(len(size)), times[chosen, tag])}),
                    np.uint8,
                ).reshape(len(size), -1)
                for tag in range(TAGS)
            ]
            parts.append(np.concatenate(columns, axis=1).tobytes())
    folder.mkdir(parents=True, exist_ok=True)
    start = opening(1.7e9) + summary_record(0, 1.7e9, session_start({"rate": 1.0, "seed": seed}, "", 1.7e9))
    with (folder / "events.out.tfevents.1700000000.host.1.0").open("ab") as file:
        file.write((start if head else b"") + b"".join(parts))


def own_run(folder: Path, seed: int) -> None:
    """A finished run of one rank with an evaluation every hundred steps."""
    draw = np.random.default_rng(seed)
    run = RunFolder(folder.absolute())
    folder.mkdir(parents=True)
    run.recipe.write_text("name: made-up\n")
    attempt = run.new_attempt()
    recipe = {"name": "made-up", "train": {"learning_rate": 1e-5, "seed": seed}, "evaluate": {"metric": "f1"}}
    attempt.plan.write_text(json.dumps({"recipe": recipe}))
    lines = ['{"time": 1.7e9, "kind": "resumed", "step": 0}']
    for step, (loss, norm, seconds) in enumerate(draw.random((STEPS, 3)).tolist(), start=1):
        now = 1.7e9 + step
        pace = {"step": step, "seconds": seconds, "forward_seconds": norm, "waiting_seconds": loss, "tokens": 4096}
        lines.append(json.dumps({"time": now, "kind": "pace", **pace, "peak_memory_bytes": 1 << 30}))
        event = {"step": step, "epoch": 1, "count": 32, "digest": "0" * 64, "loss": loss, "learning_rate": 1e-5}
        event |= {"grad_norm": norm, "tokens": 4096, "samples": 32, "targets": 900, "seconds": seconds}
        lines.append(json.dumps({"time": now, "kind": "step", **event}))
        if step % 100 == 0:
            values = {"loss": loss, "f1": norm, "types": {"Disease": {"f1": norm, "support": 9}}}
            lines.append(
                json.dumps({"time": now, "kind": "scalars", "step": step, "split": "validation", **{"values": values}})
            )
    attempt.events(0).write_text("\n".join(lines) + "\n")
    who = {"host": "node1", "pid": 1, "world_size": 1, "strategy": "ddp", "started": 1.7e9, "resumed_step": 0}
    AttemptRecord(number=1, outcome="finished", **who, first_step=1, last_step=STEPS).save(attempt.record)
    counts = {"steps": STEPS, "samples_seen": 32 * STEPS, "tokens_seen": 4096 * STEPS}
    Result(status="finished", **counts, train_seconds=1.0, tokens_per_second=1.0).save(run.result)


def made(folder: Path, runs: int, make: Callable[[Path, int], None]) -> Path:
    """`runs` runs in a folder, made if they are not all there."""
    whole = folder / "whole"
    if not whole.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for number in range(runs):
            make(folder / f"run-{number:04d}", number)
        whole.touch()
    return folder


def measured(command: Sequence[str]) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak MB of a command. Raises RunFailed when it fails."""
    before, began = os.times(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, held(watched))
        time.sleep(LOOK_S)
    seconds, after = time.perf_counter() - began, os.times()
    said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RunFailed(f"{command[0]} ended with {process.returncode}\n{said[-2000:]}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, spent, peak / 1e6


def held(process: psutil.Process) -> int:
    """Bytes of a process and its children: pages that they share are counted once."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_full_info().pss
    except psutil.Error:
        return total
    return total


def cases(folder: Path, runs: int, peer: Path | None, peer_runs: int) -> dict[str, tuple[int, Callable[[], list[str]]]]:
    """By name: how many runs it is over, and what makes its command, right before it is run."""
    biodist = [sys.executable, "-m", "biodist.cli", "tensorboard"]
    foreign, own = folder / f"foreign-{runs}", folder / f"own-{runs}"

    def cold(source: Path, key: str) -> list[str]:
        shutil.rmtree(folder / f"tree-{source.name}", ignore_errors=True)
        return [*biodist, str(source), "--out", str(folder / f"tree-{source.name}"), "--group-by", key]

    def again(grow: bool) -> list[str]:
        last = json.loads((foreign / "grown").read_text()) if (foreign / "grown").exists() else STEPS
        for number in range(GROWN if grow else 0):
            foreign_run(foreign / f"run-{number:04d}", number, last + 1, last + MORE, head=False)
        (foreign / "grown").write_text(json.dumps(last + MORE if grow else last))
        return [*biodist, str(foreign), "--out", str(folder / f"tree-{foreign.name}"), "--group-by", "rate"]

    def reducer() -> list[str]:
        assert peer is not None
        for old in folder.glob("reduced*"):
            shutil.rmtree(old)
        some = [str(foreign / f"run-{number:04d}") for number in range(peer_runs)]
        # Ten runs have grown by then: those are longer, which it must be told to bear.
        options = ["--lax-steps", "-r", "mean,std,min,max", "-o", str(folder / "reduced")]
        return [str(peer.parent / "tb-reducer"), *options, *some]

    found: dict[str, tuple[int, Callable[[], list[str]]]] = {
        "event files, first call": (runs, lambda: cold(foreign, "rate")),
        "event files, 10 runs grew": (runs, lambda: again(True)),
        "event files, nothing new": (runs, lambda: again(False)),
        "our runs, first call": (runs, lambda: cold(own, "train.learning_rate")),
    }
    return {**found, "tensorboard-reducer": (peer_runs, reducer)} if peer else found


def markdown(rows: Sequence[Row]) -> str:
    """The table, and whether the goals are met."""
    lines = ["| case | runs | points | seconds | processor seconds | peak MB |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = f"{row.seconds:.1f} | {row.processor_seconds:.1f} | {row.peak_mb:.0f}"
        lines.append(f"| {row.case} | {row.runs:,} | {row.points:,} | {cells} |")
    by_case = {row.case: row for row in rows}
    first, second = by_case.get("event files, first call"), by_case.get("event files, 10 runs grew")
    peer = by_case.get("tensorboard-reducer")
    if first and peer:
        times = (peer.seconds / peer.runs) / (first.seconds / first.runs)
        lines.append(f"\nA run takes tensorboard-reducer {times:.0f} times as long (goal: {GOAL_FASTER}).")
    if first:
        lines.append(f"\nPeak memory: {first.peak_mb:.0f} MB (goal: under {GOAL_MB}).")
    if second:
        lines.append(f"\nSecond call, {GROWN} runs grew: {second.seconds:.1f} s (goal: under {GOAL_SECOND_S:g}).")
    if rows:
        state = f"{rows[0].cores} cores, load before each case at most {max(row.machine_load for row in rows):.1f}"
        lines.append(f"\n`{typed_command()}`, {commit_label(rows[0].commit)}, {state}.")
    return "\n".join(lines) + "\n"


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Runs the cases that are not on record, and gives them all."""
    commit, runs = measured_commit(), int(arguments.runs)
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    made(folder / f"foreign-{runs}", runs, lambda place, seed: foreign_run(place, seed, 1, STEPS, head=True))
    made(folder / f"own-{runs}", runs, own_run)
    known = {row.case: row for row in map(Row.model_validate, read_json_lines(arguments.out)) if row.commit == commit}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with JsonLines(arguments.out) as out:
        for case, (over, command) in cases(folder, runs, arguments.peer, arguments.peer_runs).items():
            if case in known:
                continue
            words, load = command(), os.getloadavg()[0]
            seconds, spent, peak = measured(words)
            figures = {"seconds": seconds, "processor_seconds": spent, "peak_mb": peak, "machine_load": load}
            cores = len(os.sched_getaffinity(0))
            each = OWN_POINTS if case.startswith("our") else STEPS * TAGS
            row = Row(commit=commit, case=case, runs=over, points=over * each, cores=cores, **figures)
            out.append(row.model_dump(mode="json"))
            known[case] = row
    return list(known.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; outside the clone, or in runs/")
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are made: 2 GB for 1,000")
    parser.add_argument("--peer", type=Path, help="python of an environment with tensorboard-reducer 0.4.0")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--peer-runs", type=int, default=100, help="over which tensorboard-reducer goes")
    parser.add_argument("--markdown", type=Path, help="writes the table there as well")
    arguments = parser.parse_args()
    try:
        table = markdown(measure(arguments))
    except BiodistError as error:
        print(f"aggregate: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(table, end="")
    if arguments.markdown:
        arguments.markdown.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
