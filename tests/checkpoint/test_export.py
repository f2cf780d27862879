"""The exported folder appears whole or not at all. Its logits: `test_strategies`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from biodist.checkpoint.export import export
from biodist.checkpoint.reading import Checkpoint, open_checkpoint


@pytest.fixture
def checkpoint(folder: Path) -> Checkpoint:
    found = open_checkpoint(folder / "step-00000020")
    assert found is not None
    return found


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("[]")
    return folder


def test_it_holds_every_weight_whole_and_the_encoders_files(
    checkpoint: Checkpoint, encoder: Path, tmp_path: Path, tools: Any
) -> None:
    export(checkpoint, encoder, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        *("config.json", "tokenizer.json", "model.safetensors"),
    }
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state = tools.state_of(20)
    expected = {f.name: f.weight.detach().reshape(f.shape) for f in state.held()} | state.buffers()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_an_earlier_one_is_replaced_whole(checkpoint: Checkpoint, encoder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "stale.bin").write_text("old")
    (tmp_path / ".staging-model").mkdir()
    export(checkpoint, encoder, model)
    assert not (model / "stale.bin").exists() and (model / "model.safetensors").exists()
    assert not (tmp_path / ".staging-model").exists()


def test_a_failure_leaves_the_earlier_one(checkpoint: Checkpoint, encoder: Path, tmp_path: Path, tools: Any) -> None:
    model = tmp_path / "model"
    export(checkpoint, encoder, model)
    before = tools.tree(model)
    sorted(checkpoint.folder.glob("*.safetensors"))[1].unlink()
    with pytest.raises(FileNotFoundError):
        export(checkpoint, encoder, model)
    assert tools.tree(model) == before
    assert not list(tmp_path.glob(".staging-*"))
