"""Shards are safetensors files that the library reads, with the digest of their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.numpy import load_file

from biodist.checkpoint import shards
from biodist.checkpoint.shards import CHUNK_BYTES, ROOM_BYTES, Entry, Shard, file_digest, in_chunks, write_shard
from biodist.errors import RunFailed

Tensors = dict[str, np.ndarray]
NAMES = st.text("abcé/._", min_size=1, max_size=12)
VALUES = arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32))


def entries(tensors: Tensors, chunk: int = 64) -> list[Entry]:
    def pieces(values: np.ndarray) -> list[np.ndarray]:
        return [values[start : start + chunk] for start in range(0, len(values), chunk)]

    return [Entry(name, values.shape, lambda v=values: iter(pieces(v))) for name, values in tensors.items()]  # type: ignore[misc]


@settings(deadline=None, max_examples=60)
@given(tensors=st.dictionaries(NAMES, VALUES, min_size=1, max_size=6), chunk=st.integers(1, 400))
def test_the_library_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, tensors: Tensors, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("shard") / "one.safetensors"
    written = write_shard(path, entries(tensors, chunk))
    loaded = load_file(path)
    assert {name: values.tobytes() for name, values in loaded.items()} == {n: v.tobytes() for n, v in tensors.items()}
    assert written.bytes == path.stat().st_size
    assert written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_digest(path) == written


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_range_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    values = data.draw(VALUES.filter(len))
    start = data.draw(st.integers(0, len(values) - 1))
    stop = data.draw(st.integers(start + 1, len(values)))
    path = tmp_path_factory.mktemp("shard") / "one.safetensors"
    write_shard(path, entries({"before": np.ones(3, np.float32), "x": values, "after": np.ones(2, np.float32)}))
    assert Shard.open(path).read("x", start, stop).tobytes() == values[start:stop].tobytes()


def test_shapes_and_metadata_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    values = np.arange(6, dtype=np.float32)
    write_shard(path, [Entry("x", (2, 3), lambda: iter([values[:4], values[4:]]))], {"format": "pt"})
    with safe_open(path, framework="np") as shard:
        assert shard.metadata() == {"format": "pt"}
        assert shard.get_tensor("x").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0  # the values are aligned


@pytest.mark.parametrize("given_values", [0, 3, 5])
def test_an_entry_with_other_values_than_its_shape_is_refused(tmp_path: Path, given_values: int) -> None:
    entry = Entry("x", (4,), lambda: iter([np.zeros(given_values, np.float32)]))
    with pytest.raises(ValueError, match=f"x: {4 * given_values} bytes where its shape says 16"):
        write_shard(tmp_path / "one.safetensors", [entry])


def test_a_folder_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_shard(tmp_path / "nowhere" / "one.safetensors", [])


def test_large_tensors_travel_in_chunks() -> None:
    values = np.zeros(2 * CHUNK_BYTES // 4 + 5, np.float32)
    sizes = [len(chunk) for chunk in in_chunks(values)]
    assert sizes == [CHUNK_BYTES // 4, CHUNK_BYTES // 4, 5]
    assert list(in_chunks(values[:0])) == []


@pytest.mark.parametrize("how", ["direct", "cached", "refused"])
def test_a_shard_of_several_chunks_is_written_and_hashed_in_order(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the page cache, through it, and where the system refuses to write past it: a block is not whole."""
    if how == "cached":
        monkeypatch.setattr(shards, "DIRECT", 0)
    elif how == "refused":
        monkeypatch.setattr(shards, "BLOCK_BYTES", 1)
    values = np.arange(5 * ROOM_BYTES // 8, dtype=np.float32)
    few = values[:3]
    path = tmp_path / "large.safetensors"
    given = {"few": few, "large": values, "few again": few}
    written = write_shard(path, [Entry(n, v.shape, lambda v=v: in_chunks(v)) for n, v in given.items()])  # type: ignore[misc]
    assert written == file_digest(path)
    assert {name: tensor.tobytes() for name, tensor in load_file(path).items()} == {
        name: tensor.tobytes() for name, tensor in given.items()
    }


@pytest.mark.parametrize("left", [0, 7, 8, 40, -1])
def test_a_cut_shard_is_refused_by_name(tmp_path: Path, left: int) -> None:
    path = tmp_path / "one.safetensors"
    write_shard(path, entries({"x": np.ones(300, np.float32)}))
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    with pytest.raises(RunFailed, match=r"one\.safetensors: (not a shard, its header is damaged|ends inside x)"):
        Shard.open(path).read("x", 0, 300)


@pytest.mark.parametrize("header", [b"", b"[]", b"{", b'{"x":1}', b'{"x":{"data_offsets":[]}}', b"\xff"])
def test_a_header_that_is_none_is_refused_by_name(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "one.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(RunFailed, match=r"one\.safetensors: not a shard, its header is damaged"):
        Shard.open(path)


def test_a_tensor_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    write_shard(path, entries({"x": np.ones(3, np.float32)}))
    with pytest.raises(RunFailed, match=r"one\.safetensors: holds no y"):
        Shard.open(path).read("y", 0, 1)
