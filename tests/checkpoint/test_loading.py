"""The newest checkpoint that verifies is loaded; what was passed over is said; nothing is changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from biodist.checkpoint.loading import load, newest_verified, refuse_foreign
from biodist.checkpoint.reading import Checkpoint, open_checkpoint
from biodist.errors import RunFailed, UserError
from biodist.training.group import Control

ALONE = Control(0, 1, None)


def opened(folder: Path, step: int = 10) -> Checkpoint:
    checkpoint = open_checkpoint(folder / f"step-{step:08d}")
    assert checkpoint is not None
    return checkpoint


def damage(folder: Path, step: int) -> None:
    path = sorted((folder / f"step-{step:08d}").glob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


def test_the_newest_is_found(folder: Path) -> None:
    found = newest_verified(folder, ALONE)
    assert found.checkpoint is not None and found.checkpoint.step == 20
    assert found.passed_over == ()


def test_without_any_it_is_a_fresh_start(tmp_path: Path) -> None:
    assert newest_verified(tmp_path / "nowhere", ALONE).checkpoint is None
    assert newest_verified(tmp_path, ALONE).checkpoint is None


def test_a_damaged_one_is_passed_over_and_named(folder: Path) -> None:
    damage(folder, 20)
    found = newest_verified(folder, ALONE)
    assert found.checkpoint is not None and found.checkpoint.step == 10
    (said,) = found.passed_over
    assert said == "step-00000020/shard-00000-of-00003.safetensors: its SHA-256 is not the manifest's"


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_all_ranks_agree_whoever_found_the_damage(folder: Path, tools: Any, world_size: int) -> None:
    damage(folder, 20)
    said = tools.together(world_size, lambda ranks: newest_verified(folder, ranks))
    assert [found.checkpoint.step for found in said] == [10] * world_size
    assert len({found.passed_over for found in said}) == 1


@pytest.mark.parametrize("world_size", [1, 3])
def test_none_that_verifies_is_an_error_and_changes_nothing(folder: Path, tools: Any, world_size: int) -> None:
    damage(folder, 20)
    (folder / "step-00000010" / "MANIFEST.json").unlink()
    before = tools.tree(folder)
    for error in tools.together(world_size, lambda ranks: newest_verified(folder, ranks)):
        assert isinstance(error, RunFailed)
        assert f"no checkpoint in {folder} verifies, and nothing was changed" in str(error)
        assert "step-00000020/shard-00000-of-00003.safetensors" in str(error)
        assert "or start a new run in another folder (--run)" in str(error)
    assert tools.tree(folder) == before


def test_folders_without_a_manifest_alone_are_an_error_too(folder: Path) -> None:
    """Never a silent start from the beginning where there has been a checkpoint."""
    for manifest in folder.glob("*/MANIFEST.json"):
        manifest.unlink()
    with pytest.raises(RunFailed, match=r"step-00000010: no readable MANIFEST\.json"):
        newest_verified(folder, ALONE)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_state_comes_back_to_the_bit(folder: Path, tools: Any, world_size: int) -> None:
    expected = {f.name: f for f in tools.state_of(20).held()}
    for rank in range(world_size):
        state = tools.state_of(99, rank, world_size)
        load(opened(folder, 20), state)
        for fragment in state.held():
            for part, tensor in fragment.parts().items():
                assert torch.equal(tensor, expected[fragment.name].parts()[part]), (fragment.name, part)
            assert fragment.name in expected


def test_the_optimizers_step_comes_back(folder: Path, tools: Any) -> None:
    state = tools.state_of(99)
    load(opened(folder, 20), state)
    assert {float(one["step"]) for one in state._adam.state.values()} == {20.0}


def test_another_model_is_refused(folder: Path, tools: Any) -> None:
    checkpoint = opened(folder)
    parameters = dict(checkpoint.manifest.parameters)
    parameters["layer.bias"] = parameters["layer.bias"].model_copy(update={"shape": (1, 7)})
    other_shape = Checkpoint(checkpoint.folder, checkpoint.manifest.model_copy(update={"parameters": parameters}))
    with pytest.raises(RunFailed, match=re.escape("layer.bias is (7,), the checkpoint has (1, 7)")):
        load(other_shape, tools.state_of(1))
    del parameters["layer.bias"]
    without = Checkpoint(checkpoint.folder, checkpoint.manifest.model_copy(update={"parameters": parameters}))
    with pytest.raises(RunFailed, match=re.escape("layer.bias is (7,), the checkpoint has nothing")):
        load(without, tools.state_of(1))


def test_another_recipe_and_other_data_are_refused_at_once(folder: Path) -> None:
    refuse_foreign(opened(folder), "core", "data")
    with pytest.raises(UserError) as caught:
        refuse_foreign(opened(folder), "another-core", "another-data")
    recipe, data = caught.value.problems
    assert "was made by another recipe (core core, this one is another-)" in recipe.what
    assert "was trained on other data (fingerprint data, these files give another-)" in data.what
    assert all("--run" in problem.do for problem in caught.value.problems)
