"""Baselines of texts and pairs, on records small enough to work out by hand."""

import pytest

from biodist.data.class_baselines import class_baselines, linear_texts, majority, stratified
from biodist.data.records import TextRecord

pytestmark = pytest.mark.timeout(60)


def record(labels: str, *texts: str) -> TextRecord:
    return TextRecord("1", "x", 1, texts, tuple(labels.split()))


def test_majority_is_the_commonest_class_or_what_most_samples_have():
    train = [record("B", "x"), record("A", "x"), record("B", "x")]
    assert majority(train, train[:2], ["A", "B"], multi_label=False).classes == ((1,), (1,))
    several = [record("A B", "x"), record("A C", "x"), record("A B", "x")]
    assert majority(several, several[:1], ["A", "B", "C"], multi_label=True).classes == ((0, 1),)
    rare = [record("", "x"), record("C", "x"), record("", "x")]
    assert majority(rare, rare[:1], ["A", "B", "C"], multi_label=True).classes == ((2,),)


def test_a_guess_follows_the_shares_and_its_seed():
    train = [record("A", "x")] * 30 + [record("B", "x")] * 10
    test = [record("A", "x")] * 4000
    guess = stratified(train, test, ["A", "B", "C"], multi_label=False, seed=5)
    share = sum(classes == (0,) for classes in guess.classes) / len(test)
    assert 0.7 < share < 0.8 and (2,) not in guess.classes
    assert guess == stratified(train, test, ["A", "B", "C"], multi_label=False, seed=5)
    assert guess != stratified(train, test, ["A", "B", "C"], multi_label=False, seed=6)
    several = stratified(train, test, ["A", "B"], multi_label=True, seed=5)
    assert {(), (0,), (1,), (0, 1)} == set(several.classes)


def test_the_second_text_alone_sees_no_first():
    train = [record(label, f"{cue} seen", "same") for label, cue in (("A", "pain"), ("B", "fever"))] * 5
    both, alone = (
        linear_texts(train, train[:2], ["A", "B"], multi_label=False, seed=1, only_second=only)
        for only in (False, True)
    )
    assert both.classes == ((0,), (1,)) and len(set(alone.classes)) == 1


def test_several_labels_are_decided_one_by_one():
    rows = [("A", "pain"), ("B", "fever"), ("A B", "pain and fever"), ("", "nothing")] * 5
    train = [record(labels, text) for labels, text in rows]
    assert linear_texts(train, train[:4], ["A", "B"], multi_label=True, seed=1).classes == ((0,), (1,), (0, 1), ())


@pytest.mark.parametrize(("texts", "count"), [(("a b",), 3), (("a b", "c d"), 4)])
def test_all_that_fit(texts, count):
    train = [record("A", *texts), record("B", *texts)]
    found = class_baselines(train, train, ["A", "B"], multi_label=False, seed=1)
    assert len(found) == len({each.name for each in found}) == count
    assert all(len(each.classes) == 2 for each in found)
