"""Buffers of every dtype travel as bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from biodist.checkpoint.buffers import DTYPES, bytes_of, digest_of, dtype_of, fill
from biodist.checkpoint.shards import Entry, Shard, write_shard

SHAPES = [(), (0,), (1,), (3, 5)]


def buffer(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    draw = torch.Generator().manual_seed(5)
    return (torch.rand(shape, generator=draw) * 100).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_library_reads_it_and_it_comes_back(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    given = buffer(dtype, shape)
    path = tmp_path / "one.safetensors"
    raw = bytes_of(given)
    write_shard(path, [Entry("x", shape, lambda: iter([raw]), dtype_of("x", given))])
    loaded = load_file(path)["x"]
    assert loaded.dtype == dtype and loaded.shape == shape and torch.equal(loaded, given)
    back = torch.zeros(shape, dtype=dtype)
    fill(back, Shard.open(path).read("x", 0, len(raw), "u1"))
    assert torch.equal(back, given) and digest_of(back) == digest_of(given)


def test_a_view_that_is_not_in_order_is_saved_by_its_values() -> None:
    given = torch.arange(6).view(2, 3).t()
    assert bytes_of(given).tobytes() == given.contiguous().numpy().tobytes()
    back = torch.zeros(2, 3, dtype=torch.int64).t()
    fill(back, bytes_of(given))
    assert torch.equal(back, given)


def test_one_changed_value_changes_the_digest() -> None:
    given = torch.zeros(7, dtype=torch.bfloat16)
    before = digest_of(given)
    given[6] = 1
    assert digest_of(given) != before
