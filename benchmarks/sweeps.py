"""Sweeps under fire, and what they cost.

python benchmarks/sweeps.py kills SWEEP --out DIR [--kills 5] [KEY=VALUE …]
    one sweep undisturbed, one whose driver is killed so often at random; both must come to the same number of
    trials, each once, with no process left. At concurrency 1 they must be equal.
python benchmarks/sweeps.py overhead SWEEP --out DIR --on PROFILE [KEY=VALUE …]
    seconds of the whole sweep a trial, beside the trials' own, and beside submitit's `map_array` of the same
    command lines; one process a trial.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BIODIST = (sys.executable, "-P", "-m", "biodist.cli")
LIMIT_S = 7200


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("kills", "overhead"))
    parser.add_argument("sweep")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the instants at which drivers are killed")
    parser.add_argument("--on")
    chosen = parser.parse_intermixed_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    found = kills(chosen) if chosen.what == "kills" else overhead(chosen)
    text = json.dumps(found, indent=2)
    (chosen.out / f"{chosen.what}.json").write_text(text + "\n")
    print(text)
    return 0 if found["sound"] else 1


def kills(chosen: argparse.Namespace) -> dict[str, Any]:
    words = (*chosen.overrides, *(("--on", chosen.on) if chosen.on else ()))
    began = time.monotonic()
    drive(chosen, chosen.out / "undisturbed", words)
    undisturbed_s = time.monotonic() - began
    draw, root, killed = random.Random(chosen.seed), chosen.out / "killed", 0
    while killed < chosen.kills:
        process = begin(chosen, root, words)
        wanted = len(events(root)) + draw.randint(2, 8)  # lines of the ledger, and a moment after
        while process.poll() is None and len(events(root)) < wanted:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 2))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        killed += 1
    drive(chosen, root, words)
    one, other = trials(chosen.out / "undisturbed"), trials(root)
    told = [(event["key"], event["step"]) for event in events(root) if event["kind"] == "reported"]
    keys = [event["key"] for event in events(root) if event["kind"] == "intent"]
    ended = [event["key"] for event in events(root) if event["kind"] == "ended"]
    left = processes_of(root)
    sound = len(one) == len(other) == len(set(keys)) and sorted(keys) == sorted(ended) and not left
    return {
        "sound": sound and len(told) == len(set(told)),
        **{"kills": killed, "trials": len(other), "undisturbed_seconds": round(undisturbed_s, 1)},
        "started_again": sum(int(row["starts"]) - 1 for row in other),
        "share_of_time_writing": writing_share(chosen.out / "undisturbed.log"),
        "reports_told_twice": len(told) - len(set(told)),
        "processes_left": left,
        "equal": [outcome(row) for row in one] == [outcome(row) for row in other],
        "weights_equal": weights(chosen.out / "undisturbed") == weights(root),
    }


def overhead(chosen: argparse.Namespace) -> dict[str, Any]:
    words = (*chosen.overrides, "--nproc", "1", *(("--on", chosen.on, "--nodes", "1") if chosen.on else ()))
    root = chosen.out / "sweep"
    began = time.monotonic()
    drive(chosen, root, words)
    ours = time.monotonic() - began
    rows = trials(root)
    lines = [event for event in events(root) if event["kind"] == "intent"]
    theirs = map_array_seconds(chosen, root, lines) if chosen.on else None
    own = [float(row["seconds"]) for row in rows]
    return {
        "sound": all(row["state"] == "finished" for row in rows),
        **{"trials": len(rows), "sweep_seconds": round(ours, 1), "trials_own_seconds": round(sum(own), 1)},
        "share_of_time_writing": writing_share(chosen.out / "sweep.log"),
        "submitit_map_array_seconds": None if theirs is None else round(theirs, 1),
        "over_map_array_seconds_a_trial": None if theirs is None else round((ours - theirs) / len(rows), 3),
    }


def map_array_seconds(chosen: argparse.Namespace, root: Path, intents: list[dict[str, Any]]) -> float:
    """The same `biodist train` command lines by submitit alone, as many at a time as the sweep had."""
    import submitit
    import yaml
    from submitit.helpers import CommandFunction

    from biodist.config.profiles import load_profile
    from biodist.config.space import overrides

    search = yaml.safe_load((root / "sweep.yaml").read_text())["search"]
    profile = load_profile(chosen.on)
    executor = submitit.SlurmExecutor(folder=chosen.out / "submitit")
    executor.update_parameters(
        time=profile.time_limit_min,
        mem=f"{profile.memory_mib}M",
        array_parallelism=search["concurrency"],
        **({"partition": profile.partition} if profile.partition else {}),
    )
    train = (*BIODIST, "train", str(root / "recipe.yaml"), "evaluate.test=false", "--nproc", "1", "--device", "cpu")
    commands = [
        [*train, *overrides(intent["settings"]), "--run", str(chosen.out / "plain" / intent["key"])]
        for intent in intents
    ]
    began = time.monotonic()
    for job in executor.map_array(lambda words: CommandFunction(words)(), commands):
        job.result()
    return time.monotonic() - began


def begin(chosen: argparse.Namespace, root: Path, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
    log = (chosen.out / f"{root.name}.log").open("ab")
    command = [*BIODIST, "sweep", chosen.sweep, *words, "--run", str(root)]
    return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def drive(chosen: argparse.Namespace, root: Path, words: tuple[str, ...]) -> None:
    code = begin(chosen, root, words).wait(LIMIT_S)
    if code not in (0, 5):
        raise SystemExit(f"{root}: exit {code}; see {chosen.out / root.name}.log")


def writing_share(log: Path) -> float | None:
    """Of the last driver's time, what went into ledger and tables: as it says itself at its end."""
    said = re.findall(r"ledger and tables were written in ([\d.]+) s of ([\d.]+) s", log.read_text())
    return round(float(said[-1][0]) / float(said[-1][1]), 5) if said else None


def events(root: Path) -> list[dict[str, Any]]:
    ledger = root / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True) if ledger.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def trials(root: Path) -> list[dict[str, str]]:
    with (root / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def outcome(row: dict[str, str]) -> dict[str, str]:
    """A trial without what time it took."""
    return {name: value for name, value in row.items() if name not in ("seconds", "starts", "why")}


def weights(root: Path) -> dict[str, str]:
    """Of finished trials, by key."""
    found = (root / "trials").glob("*/result.json")
    return {path.parent.name: json.loads(path.read_text()).get("weights_sha256", "") for path in found}


def processes_of(root: Path) -> list[str]:
    """Processes whose command line names a trial of the sweep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(root.absolute() / "trials") in line:
            found.append(line[:200])
    return found


if __name__ == "__main__":
    sys.exit(main())
