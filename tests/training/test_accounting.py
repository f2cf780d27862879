"""Every sample of an epoch reaches the model once, whatever the machine; whoever cheats is seen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biodist.data.order import step_samples
from biodist.data.store import SampleStore
from biodist.metrics.samples import samples_digest, verify_chain
from biodist.plan.plan import Plan
from biodist.training.steps import reached_ids

pytestmark = pytest.mark.timeout(800)  # above the limits of three groups of processes
STRATEGIES = ("ddp", "zero1", "zero2", "zero3")


def lines(run: Path, count: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()[:count]]


def test_samples_are_the_same_for_every_strategy_and_world_size(
    plans: Callable[..., Plan], chosen_runs: Callable[[int], dict[str, Any]]
) -> None:
    two_epochs = 2 * plans(1).batch.steps_per_epoch
    files = {
        (world_size, strategy): chosen_runs(world_size)[strategy]["run"] / "samples.jsonl"
        for world_size in (1, 2, 3)
        for strategy in STRATEGIES
    }
    assert len({path.read_bytes() for path in files.values()}) == 1
    for path in files.values():
        assert verify_chain(path) is None
    first = lines(files[1, "ddp"].parent, two_epochs)
    assert [line["epoch"] for line in first] == [1] * (two_epochs // 2) + [2] * (two_epochs // 2)
    store = SampleStore.open(plans(1).data, "train")
    assert sum(line["count"] for line in first) == 2 * store.samples
    assert len({line["digest"] for line in first}) == two_epochs  # the second epoch has another order


def test_the_digests_are_those_of_the_order(
    plans: Callable[..., Plan], chosen_runs: Callable[[int], dict[str, Any]]
) -> None:
    """Computed here from the order alone: each epoch holds every sample once."""
    plan = plans(1)
    store = SampleStore.open(plan.data, "train")
    epochs: dict[int, list[str]] = {}
    for line in lines(chosen_runs(1)["zero2"]["run"], 2 * plan.batch.steps_per_epoch):
        epoch, samples = step_samples(plan.recipe.train.seed, plan.data.fingerprint, store.samples, 8, line["step"])
        ids = [store.sample_id(int(sample)) for sample in samples]
        assert (line["epoch"], line["count"], line["digest"]) == (epoch, len(ids), samples_digest(ids))
        epochs.setdefault(epoch, []).extend(ids)
    everything = sorted(f"small:{number}" for number in range(1, store.samples + 1))
    assert [sorted(ids) for ids in epochs.values()] == [everything, everything]


@pytest.fixture(scope="module")
def tampered(plans: Callable[..., Plan], run_jobs: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Six steps with a loader of rank 0 that cheats once, and with an honest one."""
    plan = plans(2, micro_batch=4)
    kinds: tuple[str | None, ...] = (None, "skip", "repeat", "swap", "window")
    return run_jobs([{"name": str(kind), "plan": plan, "until": 6, "tamper": kind} for kind in kinds])


def test_an_honest_loader_is_believed(tampered: dict[str, Any]) -> None:
    assert tampered["None"]["error"] is None and len(tampered["None"]["digests"]) == 6


@pytest.mark.parametrize("kind", ["skip", "repeat", "swap", "window"])
def test_a_loader_that_cheats_is_refused(tampered: dict[str, Any], kind: str) -> None:
    said = tampered[kind]
    found = re.fullmatch(
        r"step (\d+): (\d+) samples reached the model, digest (\w+); the plan has 8, digest (\w+)\. A sample was .*",
        said["error"] or "no error",
    )
    assert found is not None, said["error"]
    step, _, reached, planned = found.groups()
    assert reached != planned == tampered["None"]["digests"][int(step) - 1][:12]
    # Nothing is told of the step that was wrong, and all before it is as planned.
    assert said["digests"] == tampered["None"]["digests"][: int(step) - 1]


def test_a_sample_counts_when_all_of_its_windows_came(plans: Callable[..., Plan]) -> None:
    store = SampleStore.open(plans(1).data, "train")
    long = next(s for s in range(store.samples) if store.first_window[s + 1] - store.first_window[s] == 3)
    first, name = int(store.first_window[long]), store.sample_id(long)
    windows = np.arange(first, first + 3)
    assert reached_ids(store, windows) == [name]
    assert reached_ids(store, np.tile(windows, 2)) == [name, name]
    assert reached_ids(store, windows[:2]) == [f"{name}#0", f"{name}#1"]
    assert reached_ids(store, np.tile(windows, 2)[:-1]) == [f"{name}#{n}" for n in (0, 0, 1, 1, 2)]


@pytest.mark.parametrize(
    ("field", "value"), [("count", 7), ("epoch", 2), ("digest", "0" * 64), ("chain", "0" * 64), ("step", 4)]
)
def test_a_changed_line_is_found(
    chosen_runs: Callable[[int], dict[str, Any]], tmp_path: Path, field: str, value: Any
) -> None:
    written = (chosen_runs(1)["ddp"]["run"] / "samples.jsonl").read_text().splitlines()
    line = json.loads(written[2])
    assert line[field] != value
    written[2] = json.dumps({**line, field: value}, separators=(",", ":"))
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(written) + "\n")
    problem = verify_chain(path)
    assert problem is not None and problem.where == f"{path}:3"


def test_a_removed_line_is_found(chosen_runs: Callable[[int], dict[str, Any]], tmp_path: Path) -> None:
    written = (chosen_runs(1)["ddp"]["run"] / "samples.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(written[:4] + written[5:]))
    problem = verify_chain(path)
    assert problem is not None and problem.where == f"{path}:5"
