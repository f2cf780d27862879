"""Tags of a window: the best sequence in which every I- continues something; the words' own where they make sense."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.data.tags import iob2_labels, iob2_mentions, parse_tag
from biodist.tasks.tag_paths import TagPaths

TAGS = iob2_labels(("Disease", "Gene"))
PATHS = TagPaths(TAGS)

scores = st.lists(st.lists(st.integers(-6, 6), min_size=len(TAGS), max_size=len(TAGS)), max_size=4)
windows = st.lists(st.tuples(scores, st.booleans()), min_size=1, max_size=4)


def makes_sense(tags: tuple[int, ...], opens: bool) -> bool:
    """By the reader's own rule; a window in the middle may go on with a mention of any type."""
    kind = TAGS[tags[0]][2:] if tags and not opens else ""
    lead = [("B", kind)] if kind else []
    return not iob2_mentions([*lead, *(parse_tag(TAGS[tag], "BI") or ("O", "") for tag in tags)]).breaks


def likeliest(given: list[tuple[list[list[int]], bool]]) -> list[tuple[int, ...]]:
    together = np.array([word for each, _ in given for word in each], np.float32).reshape(-1, len(TAGS))
    words = [np.arange(len(each), dtype=np.int32) + (0 if opens else 7) for each, opens in given]
    said = PATHS.likeliest(together, words)
    assert said.dtype == np.int16
    return [tuple(part.tolist()) for part in np.split(said, np.cumsum([len(own) for own in words])[:-1])]


def total(each: list[list[int]], tags: tuple[int, ...]) -> int:
    return sum(word[tag] for word, tag in zip(each, tags, strict=True))


@settings(max_examples=150, deadline=None)
@given(windows)
def test_no_sequence_that_makes_sense_has_a_higher_score(given: list[tuple[list[list[int]], bool]]) -> None:
    for (each, opens), said in zip(given, likeliest(given), strict=True):
        assert makes_sense(said, opens)
        every = [tags for tags in product(range(len(TAGS)), repeat=len(each)) if makes_sense(tags, opens)]
        assert total(each, said) == max(total(each, tags) for tags in every)


@settings(max_examples=100, deadline=None)
@given(windows)
def test_words_own_tags_stay_where_they_make_sense(given: list[tuple[list[list[int]], bool]]) -> None:
    for (each, opens), said in zip(given, likeliest(given), strict=True):
        own = tuple(int(np.argmax(word)) for word in each)
        assert (said == own) == makes_sense(own, opens)


NONE, BEGIN, INSIDE, OTHER = 0, TAGS.index("B-Disease"), TAGS.index("I-Disease"), TAGS.index("I-Gene")


def word(**said: float) -> list[float]:
    row = [-20.0] * len(TAGS)
    for name, score in said.items():
        row[TAGS.index(name.replace("_", "-"))] = score
    return row


@pytest.mark.parametrize(
    ("words", "own", "expected"),
    [
        # A fragment, as of an abbreviated genus: the whole name is likelier than none.
        ([word(O=-0.5, B_Disease=-1.0), word(I_Disease=-0.1, O=-3)], (NONE, INSIDE), (BEGIN, INSIDE)),
        # A lone continuation that nobody would begin.
        ([word(O=-0.01, B_Disease=-9), word(I_Disease=-0.7, O=-0.8)], (NONE, INSIDE), (NONE, NONE)),
        # A change of type inside a mention.
        ([word(B_Disease=-0.1), word(I_Gene=-0.6, I_Disease=-0.9)], (BEGIN, OTHER), (BEGIN, INSIDE)),
    ],
)
def test_what_a_fragment_becomes(words: list[list[float]], own: tuple[int, ...], expected: tuple[int, ...]) -> None:
    scores = np.array(words, np.float32)
    assert tuple(scores.argmax(-1)) == own, "without paths the fragment would be said"
    assert not makes_sense(own, opens=True)
    assert tuple(PATHS.likeliest(scores, [np.arange(len(words), dtype=np.int32)])) == expected


def test_a_window_in_the_middle_goes_on_and_one_without_words_says_nothing() -> None:
    scores = np.array([word(I_Gene=0.0), word(O=0.0)], np.float32)
    numbers = np.arange(2, dtype=np.int32)
    none = np.empty(0, np.int32)
    assert PATHS.likeliest(scores, [none, numbers + 5, none]).tolist() == [OTHER, NONE]
    assert PATHS.likeliest(scores, [numbers]).tolist()[0] != OTHER
