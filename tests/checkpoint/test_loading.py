"""The newest checkpoint that verifies is loaded; what was passed over is said; nothing is changed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from biodist.checkpoint.fragments import Outline
from biodist.checkpoint.loading import load, load_newest, newest_verified, refuse_foreign
from biodist.checkpoint.manifest import ScalerState
from biodist.checkpoint.reading import Checkpoint, open_checkpoint
from biodist.errors import Problem, RunFailed, UserError
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
    assert {float(one["step"]) for one in state.trained._adam.state.values()} == {20.0}


def test_frozen_parameters_buffers_and_loss_scale_come_back(folder: Path, tools: Any) -> None:
    state, expected = tools.state_of(3), tools.state_of(20)
    load(opened(folder, 20), state)
    assert state.loss_scale.state == expected.loss_scale.state == ScalerState(scale=2.0**20, good_steps=20)
    for name, buffer in expected.buffers().items():
        assert torch.equal(state.buffers()[name], buffer) and state.buffers()[name].dtype == buffer.dtype
    (table,) = state.frozen.held()
    assert torch.equal(table.weight, next(expected.frozen.held()).weight)
    assert table.exp_avg is None


def test_steps_that_fp16_skipped_are_none_of_adams(tmp_path: Path, tools: Any) -> None:
    scaler = ScalerState(scale=8.0, good_steps=3, skipped=4)
    tools.save_all(tmp_path, 10, change=lambda rank, share: replace(share, scaler=scaler))
    state = tools.state_of(3)
    load(opened(tmp_path), state)
    assert {float(one["step"]) for one in state.trained._adam.state.values()} == {6.0}


def accept(checkpoint: Checkpoint) -> None:
    """Anything."""


def bits(state: Any) -> dict[tuple[str, str], bytes]:
    return {(f.name, part): t.numpy().tobytes() for f in state.held() for part, t in f.parts().items()}


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_proving_and_loading_in_one_pass_gives_the_same_state(folder: Path, tools: Any, world_size: int) -> None:
    def act(ranks: Any) -> Any:
        state = tools.state_of(99, ranks.rank, ranks.world_size)
        found = load_newest(folder, state, ranks, accept)
        return found.checkpoint.step, found.passed_over, bits(state), state.loss_scale.state

    expected = tools.state_of(20)
    for said in tools.together(world_size, act):
        assert said == (20, (), bits(expected), expected.loss_scale.state)


@pytest.mark.parametrize("file", [0, 1, 2])
@pytest.mark.parametrize("place", [3, 9, -1])
@pytest.mark.parametrize("world_size", [1, 2])
def test_what_a_damaged_one_left_behind_is_overwritten(
    folder: Path, tools: Any, file: int, place: int, world_size: int
) -> None:
    """The flipped bit may be found after much was filled in; the state is wholly that of the checkpoint before."""
    path = sorted((folder / "step-00000020").glob("*.safetensors"))[file]
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)

    def act(ranks: Any) -> Any:
        state = tools.state_of(99, ranks.rank, ranks.world_size)
        found = load_newest(folder, state, ranks, accept)
        return found.checkpoint.step, found.passed_over, bits(state), state.loss_scale.state

    expected = tools.state_of(10)
    for step, passed_over, state, scale in tools.together(world_size, act):
        assert (step, state, scale) == (10, bits(expected), expected.loss_scale.state)
        assert passed_over and all(path.name in said for said in passed_over)


def test_one_pass_over_nothing_that_verifies_is_an_error(folder: Path, tools: Any) -> None:
    for step in (10, 20):
        damage(folder, step)
    before = tools.tree(folder)
    for error in tools.together(2, lambda ranks: load_newest(folder, tools.state_of(9), ranks, accept)):
        assert isinstance(error, RunFailed) and "no checkpoint in" in str(error)
    assert tools.tree(folder) == before


def test_what_is_refused_is_not_read(folder: Path, tools: Any) -> None:
    def refuse(checkpoint: Checkpoint) -> None:
        raise UserError(Problem("here", "is another's", "look elsewhere"))

    state = tools.state_of(9)
    with pytest.raises(UserError, match="is another's"):
        load_newest(folder, state, ALONE, refuse)
    assert bits(state) == bits(tools.state_of(9))


class Elsewhere:
    """A strategy that keeps its weights elsewhere than where they were put."""

    def __init__(self, cut: Any):
        self._cut = cut
        self.owned, self.held = cut.owned, cut.held

    def loaded(self, step: int) -> None:
        self._cut.loaded(step)
        next(self._cut.held()).weight[0] += 1e-3


@pytest.mark.parametrize("cut", ["trained", "frozen"])
def test_a_state_that_is_not_what_was_read_is_found_out(folder: Path, tools: Any, cut: str) -> None:
    state = tools.state_of(9)
    state = replace(state, **{cut: Elsewhere(getattr(state, cut))})
    with pytest.raises(RunFailed, match="after loading, weight in memory is not what was read"):
        load_newest(folder, state, ALONE, accept)


def test_a_model_with_other_buffers_or_frozen_parameters_is_refused(folder: Path, tools: Any) -> None:
    buffers = {**tools.state_of(9).buffers(), "more": torch.ones(2)}
    del buffers["seen"]
    state = replace(tools.state_of(9), buffers=lambda: buffers)
    with pytest.raises(RunFailed) as caught:
        load(opened(folder), state)
    assert "the model's buffer more is (2,) F32, the checkpoint has nothing" in str(caught.value)
    assert "the model's buffer seen is not there, the checkpoint has (5,) BOOL" in str(caught.value)
    outlines = {**state.outlines, "table": Outline((9, 4))}
    with pytest.raises(RunFailed, match=re.escape("the model's table is (9, 4), the checkpoint has (9, 4) frozen")):
        load(opened(folder), replace(tools.state_of(9), outlines=outlines))


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
