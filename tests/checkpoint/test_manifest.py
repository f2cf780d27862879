"""The manifest says whether every element of every parameter is there exactly once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodist.checkpoint.manifest import NAME, Cursor, Manifest, ParameterPieces, Piece, read_manifest


def manifest(shape: tuple[int, ...], *pieces: tuple[int, int]) -> Manifest:
    cut = tuple(Piece(file="shard", start=start, count=count) for start, count in pieces)
    return Manifest(
        version=1,
        step=3,
        attempt=1,
        world_size=1,
        strategy="ddp",
        cursor=Cursor(epoch=1, step_of_epoch=3),
        core_digest="core",
        data_fingerprint="data",
        files={},
        parameters={"x": ParameterPieces(shape=shape, pieces=cut)},
    )


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([(0, 12)], []),
        ([(6, 6), (0, 6)], []),
        ([(0, 5), (6, 6)], ["x: gap at element 5"]),
        ([(1, 11)], ["x: gap at element 0"]),
        ([(0, 6), (5, 7)], ["x: overlap at element 5"]),
        ([(0, 12), (0, 12)], ["x: overlap at element 0"]),
        ([(0, 11)], ["x: 11 of 12 elements"]),
        ([(0, 13)], ["x: 13 of 12 elements"]),
        ([], ["x: 0 of 12 elements"]),
    ],
)
def test_gaps_and_overlaps_are_named(pieces: list[tuple[int, int]], said: list[str]) -> None:
    assert manifest((3, 4), *pieces).holes() == said


@given(cuts=st.sets(st.integers(1, 99)), data=st.data())
def test_a_whole_cut_has_no_holes_and_less_or_more_has(cuts: set[int], data: st.DataObject) -> None:
    pieces = [(start, end - start) for start, end in pairwise([0, *sorted(cuts), 100])]
    order = data.draw(st.permutations(pieces))
    assert manifest((100,), *order).holes() == []
    one = data.draw(st.sampled_from(pieces))
    assert manifest((100,), *[piece for piece in order if piece != one]).holes() != []
    assert manifest((100,), *order, one).holes() != []


def test_a_scalar_has_one_element() -> None:
    assert manifest((), (0, 1)).holes() == []
    assert manifest((), (0, 0)).holes() == ["x: 0 of 1 elements"]


def test_what_is_no_manifest_is_none(tmp_path: Path) -> None:
    text = manifest((2,), (0, 2)).model_dump_json()
    assert read_manifest(tmp_path) is None
    for damaged in ("", "{}", text[:-5], text.replace('"step":3', '"step":"x"'), text.replace("{", '{"more":1,', 1)):
        (tmp_path / NAME).write_text(damaged)
        assert read_manifest(tmp_path) is None, damaged
    (tmp_path / NAME).write_bytes(b"\xff\x00")
    assert read_manifest(tmp_path) is None
    (tmp_path / NAME).write_text(text)
    assert read_manifest(tmp_path) == manifest((2,), (0, 2))
