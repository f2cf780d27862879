"""One training of every strategy at every world size, which several tests look at from different sides."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from biodist.plan.plan import Plan

STEPS = 50
ONE, SEVERAL = 64, 3  # windows a micro-batch: all of a process's part at once, or several passes
BARE = {"weight_decay": 0.0, "max_grad_norm": 0.0}
# Both paddings and both kinds of micro-batch at every world size. `bare`: one parameter group, unclipped gradients.
CHOSEN: dict[int, dict[str, dict[str, Any]]] = {
    1: {
        "ddp": {"micro_batch": SEVERAL, "padding": "none"},
        "zero1": {"micro_batch": ONE, "padding": "batch"},
        "zero2": {"micro_batch": SEVERAL, "padding": "none"},
        "zero3": {"micro_batch": ONE, "padding": "batch"},
    },
    2: {
        "ddp": {"micro_batch": ONE, "padding": "batch"},
        "zero1": {"micro_batch": SEVERAL, "padding": "none"},
        "zero2": {"micro_batch": ONE, "padding": "none"},
        "zero3": {"micro_batch": SEVERAL, "padding": "batch"},
        "ddp-bare": {"micro_batch": SEVERAL, **BARE},
        "zero2-bare": {"micro_batch": SEVERAL, **BARE},
        "zero3-bare": {"micro_batch": ONE, **BARE},
    },
    3: {
        "ddp": {"micro_batch": SEVERAL, "padding": "none"},
        "zero1": {"micro_batch": ONE, "padding": "none"},
        "zero2": {"micro_batch": SEVERAL, "padding": "batch"},
        "zero3": {"micro_batch": SEVERAL, "padding": "none"},
    },
}


@pytest.fixture(scope="session")
def chosen_runs(
    plans: Callable[..., Plan], run_jobs: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], dict[str, Any]]:
    """What the harness said of 50 steps at one world size, by strategy; ``run`` is the folder with its samples.jsonl.

    The cases of a world size share a group of processes and are trained when first asked for.
    """
    root = tmp_path_factory.mktemp("runs")

    @cache
    def train(world_size: int) -> dict[str, Any]:
        jobs = [
            {
                "name": name,
                "plan": plans(world_size, strategy=name.removesuffix("-bare"), **settings),
                "until": STEPS,
                "run": str(root / f"{name}-{world_size}"),
            }
            for name, settings in CHOSEN[world_size].items()
        ]
        said = run_jobs(jobs, limit_s=240)
        return {job["name"]: {**said[job["name"]], "run": Path(job["run"])} for job in jobs}

    return train
