"""The campaigns of `benchmarks/`, in short: one ground, one undisturbed run, one run stopped half-way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from campaign.bench import STRATEGY, WORLD_SIZE, Bench, stopped_run
from campaign.ground import Ground


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground.prepare(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="session")
def bench(ground: Ground) -> Bench:
    return Bench(ground, stopped_run(ground), ground.undisturbed(STRATEGY, WORLD_SIZE))
