"""Whether the killed and resumed run of a rehearsal is the one that nobody disturbed."""

from __future__ import annotations

from typing import Any

from biodist.checkpoint.reading import checkpoints_in, problems_of
from biodist.metrics.samples import verify_chain
from biodist.metrics.stream import TIME_FIELDS
from biodist.plan.plan import Plan
from biodist.run.durable import read_json_lines
from biodist.run.folder import RunFolder
from biodist.run.records import Result
from launch.rehearsal.folder import RehearsalFolder
from launch.rehearsal.verdict import Check, was_killed

_COST_OF_SAVES = "checkpoint"  # a split of metrics.jsonl: of the attempt, not of the run


def checks_of(folder: RehearsalFolder, plan: Plan, kill_step: int) -> tuple[Check, ...]:
    """Every check, once both runs have finished.

    Raises:
        RunFailed: a record, or the samples of a run, cannot be read.
    """
    undisturbed, disturbed = folder.runs
    return (
        _killed(disturbed, plan, kill_step),
        _weights(undisturbed, disturbed),
        _samples(undisturbed, disturbed),
        _scores(undisturbed, disturbed),
        _checkpoints(disturbed),
    )


def _killed(run: RunFolder, plan: Plan, kill_step: int) -> Check:
    rank = plan.machine.world_size - 1
    attempts = run.attempts()
    struck = next((number for number, attempt in enumerate(attempts) if was_killed(attempt, rank)), None)
    if struck is None or struck + 1 >= len(attempts):
        return Check(name="killed", good=False, found=f"rank {rank} was not killed, so nothing was tried")
    events = read_json_lines(attempts[struck + 1].events(0))
    resumed = next((event["step"] for event in events if event["kind"] == "resumed"), 0)
    if not resumed:
        return Check(name="killed", good=False, found=f"rank {rank} after step {kill_step}; it began from nothing")
    return Check(name="killed", good=True, found=f"rank {rank} after step {kill_step}; it went on from step {resumed}")


def _weights(undisturbed: RunFolder, disturbed: RunFolder) -> Check:
    """The digest that a run states, and that of the bytes which lie in its last checkpoint."""
    stated = [Result.load(run.result).weights_sha256 for run in (undisturbed, disturbed)]
    there = [checkpoints_in(run.checkpoints)[-1:] for run in (undisturbed, disturbed)]
    read = [found[0].weights_sha256() if found else None for found in there]
    good = len({*stated, *read}) == 1 and stated[0] is not None
    short = [str(digest)[:12] for digest in (*stated, *read)]
    different = f"{short[1]} after the kill, must be {short[0]}; in the last checkpoints {short[3]} and {short[2]}"
    return Check(name="weights", good=good, found=f"equal, {short[0]}…" if good else different)


def _samples(undisturbed: RunFolder, disturbed: RunFolder) -> Check:
    if broken := next(filter(None, (verify_chain(run.samples) for run in (undisturbed, disturbed))), None):
        return Check(name="samples", good=False, found=str(broken))
    expected, found = (run.samples.read_bytes().splitlines() for run in (undisturbed, disturbed))
    if expected == found:
        return Check(name="samples", good=True, found=f"identical, {len(found)} steps: none repeated, none skipped")
    pairs = enumerate(zip(expected, found, strict=False), start=1)
    first = next((step for step, (one, other) in pairs if one != other), min(len(expected), len(found)) + 1)
    return Check(name="samples", good=False, found=f"not those of the undisturbed run from step {first} on")


def _scores(undisturbed: RunFolder, disturbed: RunFolder) -> Check:
    """Losses and scores of every step, and those of the final weights."""
    final = [Result.load(run.result).metrics for run in (undisturbed, disturbed)]
    lines = [_figures(run) for run in (undisturbed, disturbed)]
    if lines[0] == lines[1] and final[0] == final[1]:
        return Check(name="scores", good=True, found="equal: losses, scores of each evaluation and of the best weights")
    pairs = zip(*lines, strict=False)
    differing = next((f"{one['split']} at step {one['step']}" for one, other in pairs if one != other), None)
    ends = "of the best weights" if lines[0] == lines[1] else "missing or too many at the end"
    return Check(name="scores", good=False, found=f"differ: {differing or ends}")


def _figures(run: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what any two runs differ in: times, and what saves cost."""
    return [
        {name: value for name, value in line.items() if name not in TIME_FIELDS}
        for line in read_json_lines(run.metrics)
        if line["split"] != _COST_OF_SAVES
    ]


def _checkpoints(run: RunFolder) -> Check:
    found = checkpoints_in(run.checkpoints)
    problems = [problem for checkpoint in found for problem in problems_of(checkpoint.folder)]
    if not found or problems:
        return Check(name="checkpoints", good=False, found="; ".join(problems) or "there is none")
    steps = ", ".join(str(checkpoint.step) for checkpoint in found)
    return Check(
        name="checkpoints", good=True, found=f"verified, every byte: step{'s' if len(found) > 1 else ''} {steps}"
    )
