"""One layer of mentions: what stays, what is stretched, what is left out, on cases with known answers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.data.formats.layers import one_layer, overlapping
from biodist.data.records import Mention


def at(*places: int, kind: str = "G") -> Mention:
    return Mention(tuple(zip(places[::2], places[1::2], strict=True)), kind)


def test_the_longest_then_the_first_stays() -> None:
    layer = one_layer([at(0, 5), at(0, 9), at(4, 9), at(9, 12), at(11, 14)])
    assert layer.mentions == (at(0, 9), at(9, 12)) and layer.dropped_overlapping == 3


def test_a_mention_with_gaps_is_stretched_or_dropped() -> None:
    layer = one_layer([at(0, 6, 19, 25), at(30, 33), at(40, 43, 50, 53), at(44, 47)])
    assert layer.mentions == (at(0, 25), at(30, 33), at(44, 47))
    assert (layer.stretched, layer.dropped_discontinuous, layer.dropped_overlapping) == (1, 1, 0)


def test_of_two_that_are_coordinated_the_whole_one_stays() -> None:
    """`breast and ovarian cancer`: stretched, the first would swallow the second."""
    layer = one_layer([at(0, 6, 19, 25), at(11, 25)])
    assert layer.mentions == (at(11, 25),) and layer.dropped_discontinuous == 1


def test_what_shares_a_character_overlaps() -> None:
    assert overlapping([at(0, 2), at(2, 4), at(1, 3, 8, 9), at(5, 6)]) == [at(2, 4), at(1, 3, 8, 9)]
    assert overlapping([at(0, 2, 4, 6), at(2, 4)]) == []


MENTIONS = st.lists(
    st.sets(st.integers(0, 30), min_size=2, max_size=4).filter(lambda places: len(places) % 2 == 0), max_size=8
).map(lambda all: [at(*sorted(places), kind=str(number)) for number, places in enumerate(all)])


@given(MENTIONS)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_a_layer_is_disjoint_and_nothing_is_lost_uncounted(mentions: list[Mention]) -> None:
    layer = one_layer(mentions)
    assert all(len(each.pieces) == 1 for each in layer.mentions)
    assert all(one.end <= other.start for one, other in pairwise(layer.mentions))
    assert len(mentions) == len(layer.mentions) + layer.dropped_overlapping + layer.dropped_discontinuous
    if not overlapping(mentions) and all(len(each.pieces) == 1 for each in mentions):
        assert set(layer.mentions) == set(mentions)
