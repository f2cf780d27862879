"""Answers of several passes, joined: whose mentions count, and which stays where two share a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.data.records import Entity
from biodist.data.tags import iob2_labels, iob2_mentions, parse_tag
from biodist.tasks.joining import SAID, Joining, said_of

TYPES = ("Disease", "Chemical", "Gene")
TAGS = iob2_labels(TYPES)
ASKED = (("Disease", "Chemical"), ("Chemical", "Gene"))
NAMES = {
    "O": "O",
    "D": "B-Disease",
    "d": "I-Disease",
    "C": "B-Chemical",
    "c": "I-Chemical",
    "G": "B-Gene",
    "g": "I-Gene",
}

words = st.tuples(st.sampled_from("ODdCcGg"), st.sampled_from([0.4, 0.6, 0.8]))
both_passes = st.lists(st.tuples(words, words), min_size=1, max_size=8).map(lambda each: tuple(zip(*each, strict=True)))


def said(tags: str, scores: list[float]) -> np.ndarray:
    return np.array([(TAGS.index(NAMES[tag]), score) for tag, score in zip(tags, scores, strict=True)], SAID)


def joined(*answers: tuple[str, list[float]], asked: tuple[tuple[str, ...], ...] = ASKED) -> tuple[str, list[float]]:
    found = Joining(TAGS, asked).joined([said(*answer) for answer in answers])
    letters = {name: letter for letter, name in NAMES.items()}
    return "".join(letters[TAGS[tag]] for tag in found["tag"]), [round(float(score), 3) for score in found["score"]]


def test_each_pass_gives_the_mentions_of_its_own_types() -> None:
    tags, scores = joined(("DdOGO", [0.9, 0.8, 0.9, 0.99, 0.7]), ("DdOOG", [0.99, 0.99, 0.6, 0.5, 0.8]))
    # The first pass's gene and the second's disease are not theirs to give.
    assert tags == "DdOOG" and scores == [0.9, 0.8, 0.6, 0.5, 0.8]


@pytest.mark.parametrize(
    ("first", "second", "tags"),
    [
        (("Dd", [0.9, 0.9]), ("OG", [0.9, 0.8]), "Dd"),  # the higher score
        (("Dd", [0.7, 0.8]), ("OG", [0.9, 0.8]), "OG"),  # a mention's score is the mean of its words'
        (("OD", [0.9, 0.8]), ("OG", [0.9, 0.8]), "OD"),  # equal: the order of the labels
        (("OC", [0.9, 0.8]), ("Cc", [0.8, 0.8]), "OC"),  # of one type: the earlier pass
        (("CcO", [0.7, 0.7, 0.7]), ("Ccc", [0.8, 0.8, 0.8]), "Ccc"),
        (("DdO", [0.8, 0.8, 0.8]), ("GgO", [0.9, 0.9, 0.9]), "GgO"),
        (("DdDd", [0.7] * 4), ("OGgO", [0.8] * 4), "OGgO"),  # it beats both
        (("DdD", [0.7, 0.7, 0.9]), ("OGg", [0.8] * 3), "DdD"),  # what beats it leaves room for the other
        (("OC", [0.5, 0.5]), ("CO", [0.5, 0.5]), "CC"),  # neighbours do not grow together
        (("dO", [0.5, 0.5]), ("Oc", [0.5, 0.5]), "DC"),  # I- that continues nothing begins a mention
    ],
)
def test_of_mentions_that_share_words_the_surer_stays(
    first: tuple[str, list[float]], second: tuple[str, list[float]], tags: str
) -> None:
    assert joined(first, second)[0] == tags


def broken_rules(join: Callable[[list[np.ndarray]], np.ndarray], answers: Any) -> list[str]:
    """What a joined answer does that no rule allows, by looking at all mentions of all passes."""
    passes = [said("".join(tag for tag, _ in answer), [score for _, score in answer]) for answer in answers]
    given_: dict[Entity, float] = {}
    for answer, view in zip(passes, ASKED, strict=True):
        kept = [TAGS[tag] if TAGS[tag][2:] in view else "O" for tag in answer["tag"]]
        for each in iob2_mentions([parse_tag(tag, "BI") or ("", "") for tag in kept]).entities:
            score = float(answer["score"][each.start : each.end].mean())
            given_[each] = max(score, given_.get(each, 0.0))
    read = iob2_mentions([parse_tag(TAGS[tag], "BI") or ("", "") for tag in join(passes)["tag"]])
    faults = ["a tag that continues nothing"] * len(read.breaks)
    faults += ["a mention that no pass gave"] * bool(set(read.entities) - set(given_))

    def meet(one: Entity, other: Entity) -> bool:
        return one.start < other.end and other.start < one.end

    for each, score in given_.items():
        beaten = any(meet(each, stayed) and given_[stayed] >= score for stayed in read.entities if stayed in given_)
        faults += ["left out for nothing"] * (each not in read.entities and not beaten)
    return faults


@settings(max_examples=200, deadline=None)
@given(both_passes)
def test_a_mention_stays_or_gives_way_to_one_as_sure(answers: Any) -> None:
    assert not broken_rules(Joining(TAGS, ASKED).joined, answers)


@pytest.mark.parametrize(
    ("asked", "answers", "fault"),
    [
        ((TYPES, TYPES), ([("G", 0.9)], [("O", 0.9)]), "a mention that no pass gave"),
        (ASKED[::-1], ([("D", 0.9)], [("O", 0.9)]), "left out for nothing"),
    ],
)
def test_the_rules_catch_a_join_that_takes_other_views_types(asked: Any, answers: Any, fault: str) -> None:
    assert broken_rules(Joining(TAGS, asked).joined, answers) == [fault]


def test_what_a_pass_says_of_a_word_is_its_tag_and_the_probability_of_it() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 0.0]])
    found = said_of(logits, np.array([1, 2], np.int16))
    assert found["tag"].tolist() == [1, 2]
    assert found["score"] == pytest.approx([float(logits.softmax(-1)[0, 1]), float(logits.softmax(-1)[1, 2])])
