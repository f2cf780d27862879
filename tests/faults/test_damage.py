"""The damage campaign in short. The long form: `benchmarks/damage_campaign.py`."""

from __future__ import annotations

import os

import pytest
from campaign.bench import Bench
from campaign.damages import damages, newest_of
from campaign.full_disk import FILLINGS

pytestmark = pytest.mark.timeout(600)

CHOSEN = [
    "MANIFEST.json: unreadable (a folder)",
    "the folder holds an older checkpoint",
    "MANIFEST.json: data_fingerprint of another run",
]


@pytest.mark.parametrize("name", CHOSEN)
def test_damage_is_said_and_nothing_is_lost(bench: Bench, name: str) -> None:
    (damage,) = (one for one in damages(newest_of(bench.stopped)) if one.name == name)
    assert bench.damaged(damage)["problems"] == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_full_for_one_rank_ends_the_run_and_loses_nothing(bench: Bench) -> None:
    (filling,) = (one for one in FILLINGS if one.name == "checkpoints' disk full for rank 1 alone")
    assert bench.filled(filling)["problems"] == []
