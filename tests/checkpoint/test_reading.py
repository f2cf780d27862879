"""A checkpoint verifies only when every byte is the one that was written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biodist.checkpoint.reading import checkpoints_in, open_checkpoint, problems_of


def shard(checkpoint: Path, number: int = 1) -> Path:
    return sorted(checkpoint.glob("*.safetensors"))[number]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


NAME = "step-00000010/shard-00001-of-00003.safetensors"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: flip(path, -1), f"{NAME}: its SHA-256 is not the manifest's"),
        (lambda path: flip(path, 0), f"{NAME}: its SHA-256 is not the manifest's"),
        (shorten, f"{NAME}: 1179 bytes, the manifest says 1180"),
        (lambda path: path.unlink(), f"{NAME}: No such file or directory"),
    ],
)
def test_damage_is_found_and_named(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    checkpoint = folder / "step-00000010"
    assert problems_of(checkpoint) == []
    size = shard(checkpoint).stat().st_size
    damage(shard(checkpoint))
    said = said.replace("1179", str(size - 1)).replace("1180", str(size))
    assert problems_of(checkpoint) == [said]
    assert problems_of(folder / "step-00000020") == []


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_noticed(folder: Path, data: st.DataObject) -> None:
    path = shard(folder / "step-00000010", data.draw(st.integers(0, 2)))
    place = data.draw(st.integers(0, path.stat().st_size - 1))
    flip(path, place)
    assert len(problems_of(folder / "step-00000010")) == 1
    flip(path, place)
    assert problems_of(folder / "step-00000010") == []


def test_ranks_share_the_proving(folder: Path) -> None:
    for number in (0, 2):
        flip(shard(folder / "step-00000010", number), 100)
    parts = [problems_of(folder / "step-00000010", slice(rank, None, 2)) for rank in range(2)]
    assert [len(part) for part in parts] == [2, 0]
    assert parts[0] == problems_of(folder / "step-00000010")


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_without_a_manifest_it_is_no_checkpoint(folder: Path, text: str | None) -> None:
    manifest = folder / "step-00000010" / "MANIFEST.json"
    manifest.unlink()
    if text is not None:
        manifest.write_text(text)
    assert problems_of(folder / "step-00000010") == ["step-00000010: no readable MANIFEST.json"]
    assert open_checkpoint(folder / "step-00000010") is None
    assert [checkpoint.step for checkpoint in checkpoints_in(folder)] == [20]


def test_a_manifest_with_a_hole_does_not_verify(folder: Path) -> None:
    checkpoint = open_checkpoint(folder / "step-00000010")
    assert checkpoint is not None
    parameters = dict(checkpoint.manifest.parameters)
    embedding = parameters["embedding"]
    parameters["embedding"] = embedding.model_copy(update={"pieces": embedding.pieces[1:]})
    changed = checkpoint.manifest.model_copy(update={"parameters": parameters})
    (checkpoint.folder / "MANIFEST.json").write_text(changed.model_dump_json())
    assert any("embedding: gap at element 0" in problem for problem in problems_of(checkpoint.folder))


def test_there_may_be_none(tmp_path: Path) -> None:
    assert checkpoints_in(tmp_path / "nowhere") == [] == checkpoints_in(tmp_path)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 93), count=st.integers(0, 93))
def test_any_range_comes_together_over_shards(folder: Path, tools: Any, start: int, count: int) -> None:
    checkpoint = open_checkpoint(folder / "step-00000010")
    assert checkpoint is not None
    stop = min(93, start + count)
    whole = next(f for f in tools.state_of(10).held() if f.name == "embedding")
    for part, tensor in whole.parts().items():
        read = list(checkpoint.read(part, "embedding", start, stop))
        joined = np.concatenate([np.empty(0, np.float32), *read])
        assert joined.tobytes() == tensor.detach().numpy()[start:stop].tobytes()


def test_the_weights_digest_is_the_contracts_and_knows_no_cut(tools: Any, tmp_path: Path) -> None:
    digests = set()
    for world_size in (1, 2, 3, 7):
        tools.save_all(tmp_path / str(world_size), 1, seed=4, world_size=world_size)
        (checkpoint,) = checkpoints_in(tmp_path / str(world_size))
        assert len(checkpoint.manifest.files) == world_size
        digests.add(checkpoint.weights_sha256())
    expected = hashlib.sha256()
    for fragment in tools.state_of(4).held():  # names in order
        shape = ",".join(str(size) for size in fragment.shape)
        expected.update(fragment.name.encode() + b"\0" + shape.encode() + b"\0")
        expected.update(fragment.weight.detach().numpy().astype("<f4").tobytes())
    assert digests == {expected.hexdigest()}
