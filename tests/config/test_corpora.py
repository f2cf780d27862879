"""Which sets of types are asked for outside of training."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodist.config.corpora import asked_views
from biodist.config.recipe import DataSection

TYPES = ("Disease", "Chemical", "Gene", "Species")


def section(*views: str, merge: str = "tagged", labels: tuple[str, ...] = TYPES) -> DataSection:
    """Training corpora that annotate the types of these initials."""
    named = [[kind for kind in labels if kind[0] in view] for view in views]
    train = [{"path": f"{number}.tsv", "annotates": types} for number, types in enumerate(named)]
    return DataSection.model_validate({"merge": merge, "labels": labels, "max_length": 32, "train": train})


def initials(data: DataSection) -> list[str]:
    return ["".join(kind[0] for kind in view) for view in asked_views(data)]


@pytest.mark.parametrize(
    ("views", "asked"),
    [
        (("D", "C", "G", "S"), ["D", "C", "G", "S"]),
        (("S", "D", "S", "CG"), ["S", "D", "CG"]),  # each once, in the order of first use
        (("D", "DC", "G", "GS", "S"), ["DC", "GS"]),  # the fewest
        (("DC", "CG", "GS", "DS"), ["DC", "GS"]),  # of equally few the earlier ones
        (("CG", "DC", "GS", "DS"), ["CG", "DS"]),
        (("D", "G", "DCGS"), ["DCGS"]),  # a marker of all types was trained
    ],
)
def test_the_fewest_trained_views_that_have_all_types(views: tuple[str, ...], asked: list[str]) -> None:
    assert initials(section(*views)) == asked


@pytest.mark.parametrize("merge", ["marginal", "masked", "naive"])
def test_other_schemes_ask_for_all_types_at_once(merge: str) -> None:
    assert asked_views(section("D", "C", "GS", merge=merge)) == (TYPES,)


@given(st.lists(st.sets(st.sampled_from("DCGS"), min_size=1), min_size=1, max_size=7))
def test_no_smaller_set_of_views_has_them(drawn: list[set[str]]) -> None:
    """Against all sets of views, one by one."""
    views = ["".join(sorted(view, key="DCGS".index)) for view in drawn]
    trained = set().union(*drawn)
    labels = tuple(kind for kind in TYPES if kind[0] in trained)
    asked = initials(section(*views, labels=labels))
    assert set("".join(asked)) == trained and set(asked) <= set(views)
    assert not any(set("".join(few)) == trained for size in range(len(asked)) for few in combinations(views, size))
