"""Every rank says what its own part of a step came to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biodist.plan.plan import Plan
from biodist.run.durable import read_json_lines
from biodist.run.folder import RunFolder
from biodist.training.pace import Stopwatch

pytestmark = pytest.mark.timeout(800)  # above the limits of a group of processes


def paces(run: Path, rank: int) -> list[dict[str, Any]]:
    events = RunFolder(run).attempts()[0].events(rank)
    return [line for line in read_json_lines(events) if line["kind"] == "pace"]


@pytest.mark.parametrize("strategy", ["ddp", "zero2"])
def test_every_rank_tells_of_every_step(
    plans: Callable[..., Plan], chosen_runs: Callable[[int], dict[str, Any]], strategy: str
) -> None:
    said = chosen_runs(2)[strategy]
    ranks = [paces(said["run"], rank) for rank in range(2)]
    steps = [json.loads(line)["step"] for line in (said["run"] / "samples.jsonl").read_text().splitlines()]
    assert [[pace["step"] for pace in rank] for rank in ranks] == [steps, steps]
    trained = [line for line in read_json_lines(said["run"] / "metrics.jsonl") if line["split"] == "train"]
    for whole, *parts in zip(trained, *ranks, strict=True):
        assert sum(part["tokens"] for part in parts) >= whole["tokens"]  # fillers come on top
        for part in parts:
            assert 0 < part["forward_seconds"] < part["seconds"] and 0 < part["waiting_seconds"] < part["seconds"]
    for rank in ranks:
        peaks = [pace["peak_memory_bytes"] for pace in rank]
        assert peaks == sorted(peaks) and peaks[0] > 10**8


def test_a_slow_forward_pass_is_its_ranks_own_time() -> None:
    """What tells the one slow rank from those that wait for it."""
    slow, patient = Stopwatch(torch.device("cpu")), Stopwatch(torch.device("cpu"))
    with slow.forward(tokens=7), patient.waiting():
        time.sleep(0.02)
    with slow.forward(tokens=5), slow.waiting(), patient.forward(tokens=12):
        pass
    ours, theirs = slow.pace(1.0), patient.pace(1.0)
    assert ours.tokens == theirs.tokens == 12
    assert ours.forward_seconds > ours.waiting_seconds
    assert theirs.waiting_seconds > theirs.forward_seconds
