"""The plan as a file. Golden plans are rewritten by `BIODIST_WRITE_GOLDEN=1 pytest tests/plan/test_plan.py`.

A changed golden file is a changed plan: look at its difference before it is committed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from biodist.config.profiles import load_profile, packaged_profiles
from biodist.config.recipe import Recipe
from biodist.errors import UserError
from biodist.plan.decide import decide, place, place_on
from biodist.plan.index import DataIndex
from biodist.plan.machine import Machine
from biodist.plan.plan import ModelPlan, Plan, read_plan, write_plan

PROFILES = sorted(path.stem for path in packaged_profiles().rglob("*.yaml"))
NAMES = ["laptop-ddp.json", "gpu-node-zero3.json", *(f"on-{name}.json" for name in PROFILES)]
GOLDEN = Path(__file__).parent / "golden"
RecipeOf = Callable[..., Recipe]


@pytest.fixture
def plans(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine, gpu_node: Machine
) -> dict[str, Plan]:
    command = ("biodist", "train", "tiny.yaml")
    plain = recipe_of()
    zero3 = recipe_of(distributed={"strategy": "zero3"}, train={"precision": "fp16"})
    on_clusters = {}
    for name in PROFILES:
        profile, zero2 = load_profile(name), recipe_of(distributed={"strategy": "zero2"}, train={"precision": "bf16"})
        submit = ("biodist", "submit", "tiny.yaml", "--on", name, "--nodes", "2")
        on_clusters[f"on-{name}.json"] = decide(zero2, index, model, place_on(profile, nodes=2), submit, profile)
    return on_clusters | {
        "laptop-ddp.json": decide(plain, index, model, place(laptop, 2), command=(*command, "--nproc", "2")),
        "gpu-node-zero3.json": decide(zero3, index, model, place(gpu_node), command=command),
    }


@pytest.mark.parametrize("name", NAMES)
def test_golden(plans: dict[str, Plan], name: str, tmp_path: Path) -> None:
    write_plan(plans[name], tmp_path / name)
    if os.environ.get("BIODIST_WRITE_GOLDEN"):
        (GOLDEN / name).write_bytes((tmp_path / name).read_bytes())
    assert (tmp_path / name).read_text() == (GOLDEN / name).read_text()


def test_every_golden_file_is_compared(plans: dict[str, Plan]) -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(plans) == set(NAMES)


def test_a_plan_from_before_there_were_profiles_is_read(plans: dict[str, Plan], tmp_path: Path) -> None:
    values = json.loads(plans["laptop-ddp.json"].model_dump_json())
    del values["profile"]
    for name in ("cores_per_node", "compute_capability", "network_interface"):
        del values["machine"][name]
    (tmp_path / "plan.json").write_text(json.dumps(values))
    assert read_plan(tmp_path / "plan.json").machine.world_size == 2


def test_round_trip(plans: dict[str, Plan], tmp_path: Path) -> None:
    for plan in plans.values():
        write_plan(plan, tmp_path / "plan.json")
        assert read_plan(tmp_path / "plan.json") == plan


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan\.json: the plan cannot be read: No such file"):
        read_plan(tmp_path / "plan.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"version": 2}'])
def test_anything_else_is_no_plan(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a plan of this version"):
        read_plan(path)


def test_a_changed_plan_names_the_key(plans: dict[str, Plan], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(plans["laptop-ddp.json"], path)
    path.write_text(path.read_text().replace('"world_size": 2', '"world_size": "two"'))
    with pytest.raises(UserError, match=r"wrong: machine\.world_size"):
        read_plan(path)
