"""Scores of classes: scikit-learn's own numbers, called directly, whatever classes occur."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from biodist.metrics.classes import class_scores, label_set_scores

pytestmark = pytest.mark.timeout(120)

CLASSES = ("entailment", "neutral", "contradiction", "no class of any sample")
RANDOM = np.random.default_rng(5)

numbers = st.integers(0, len(CLASSES) - 1)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30)
sets = st.lists(st.tuples(*[st.booleans()] * 3, st.just(False)), min_size=1, max_size=20)


def same(got, expected):
    assert got == pytest.approx(expected, rel=0, abs=0), (got, expected)


def hold_classes(true, guess):
    """Every figure against scikit-learn's function for it."""
    got = class_scores(true, guess, CLASSES)
    averaged = {"average": "macro", "zero_division": 0}
    same(got["accuracy"], metrics.accuracy_score(true, guess))
    same(got["precision"], metrics.precision_score(true, guess, **averaged))
    same(got["recall"], metrics.recall_score(true, guess, **averaged))
    same(got["f1"], metrics.f1_score(true, guess, **averaged))
    same(got["macro_f1"], metrics.f1_score(true, guess, **averaged))
    same(got["micro_f1"], metrics.f1_score(true, guess, average="micro", zero_division=0))
    same(got["matthews"], metrics.matthews_corrcoef(true, guess))
    every = list(range(len(CLASSES)))
    assert got["confusion"] == metrics.confusion_matrix(true, guess, labels=every).tolist()
    report = metrics.classification_report(
        true, guess, labels=every, target_names=CLASSES, output_dict=True, zero_division=0
    )
    for name in CLASSES:
        same(list(got["classes"][name].values()), list(report[name].values()))
    assert list(got["classes"]) == list(CLASSES)


def hold_sets(true, guess):
    got = label_set_scores(true, guess, CLASSES)
    true, guess = np.array(true, int), np.array(guess, int)
    averaged = {"average": "micro", "zero_division": 0}
    same(got["accuracy"], metrics.accuracy_score(true, guess))
    same(got["precision"], metrics.precision_score(true, guess, **averaged))
    same(got["recall"], metrics.recall_score(true, guess, **averaged))
    same(got["f1"], metrics.f1_score(true, guess, **averaged))
    same(got["micro_f1"], metrics.f1_score(true, guess, **averaged))
    same(got["macro_f1"], metrics.f1_score(true, guess, average="macro", zero_division=0))
    same(got["example_f1"], metrics.f1_score(true, guess, average="samples", zero_division=0))
    report = metrics.classification_report(true, guess, target_names=CLASSES, output_dict=True, zero_division=0)
    for name in CLASSES:
        same(list(got["classes"][name].values()), list(report[name].values()))


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_one_class_a_sample_is_scored_as_scikit_learn_scores_it(drawn):
    true, guess = zip(*drawn, strict=True)
    hold_classes(list(true), list(guess))


@given(st.data(), sets)
@settings(max_examples=60, deadline=None)
def test_sets_of_classes_are_scored_as_scikit_learn_scores_them(data, true):
    row = st.tuples(*[st.booleans()] * len(CLASSES))
    hold_sets(true, data.draw(st.lists(row, min_size=len(true), max_size=len(true))))


def test_many_random_predictions_of_all_classes():
    hold_classes(*RANDOM.integers(0, len(CLASSES), (2, 5000)).tolist())
    hold_sets(*RANDOM.integers(0, 2, (2, 2000, len(CLASSES))).tolist())


def test_figures_by_hand():
    """Two of three entailments found, the one neutral missed: no other scorer is asked."""
    got = class_scores([0, 0, 0, 1], [0, 0, 1, 0], CLASSES)
    assert got["accuracy"] == 0.5
    assert got["classes"]["entailment"] == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "support": 3,
    }
    assert got["macro_f1"] == pytest.approx(1 / 3)  # over the two classes that occur
    assert got["confusion"][0] == [2, 1, 0, 0] and got["confusion"][1] == [1, 0, 0, 0]
    sets = label_set_scores([[1, 1, 0, 0], [0, 0, 0, 0]], [[1, 0, 1, 0], [0, 0, 0, 0]], CLASSES)
    assert (sets["accuracy"], sets["micro_f1"], sets["macro_f1"], sets["example_f1"]) == (0.5, 0.5, 0.25, 0.25)


@pytest.mark.parametrize(("true", "guess"), [([], []), ([1], [1]), ([0], [3]), ([2, 2], [2, 2])])
def test_what_is_undefined_is_zero_and_warns_of_nothing(true, guess):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = class_scores(true, guess, CLASSES)
    right = float(bool(true) and true == guess)
    assert (got["accuracy"], got["f1"], got["matthews"]) == (right, right, 0.0)
    assert np.sum(got["confusion"]) == len(true)


def test_a_single_class_of_sets_is_no_task_of_two_classes():
    """scikit-learn reads one column as two classes: the absent one would count as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = label_set_scores([[1], [0], [0], [1]], [[1], [0], [0], [0]], ("toxic",))
        assert label_set_scores([], [], ("toxic",))["f1"] == 0.0
    assert (got["accuracy"], got["precision"], got["recall"]) == (0.75, 1.0, 0.5)
    assert got["micro_f1"] == got["macro_f1"] == pytest.approx(2 / 3)
    assert got["classes"] == {"toxic": {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}}


def test_values_are_plain_numbers():
    for got in (class_scores([0, 1], [0, 2], CLASSES), label_set_scores([[1, 0, 0, 1]], [[1, 1, 0, 0]], CLASSES)):
        flat = [value for name, value in got.items() if name not in ("classes", "confusion")]
        assert {type(value) for value in flat} == {float}
        assert {type(value) for one in got["classes"].values() for value in one.values()} == {float, int}
    assert {type(n) for row in class_scores([0], [1], CLASSES)["confusion"] for n in row} == {int}


def test_what_does_not_match_is_named():
    with pytest.raises(ValueError, match="predicted must have 2 samples as gold has, but has 1"):
        class_scores([0, 1], [0], CLASSES)
    with pytest.raises(ValueError, match="predicted must hold class numbers from 0 to 3, but holds 4"):
        class_scores([0], [4], CLASSES)
    with pytest.raises(ValueError, match="gold must hold class numbers from 0 to 3, but holds -100"):
        class_scores([-100], [0], CLASSES)
    with pytest.raises(ValueError, match="gold must be one class number a sample"):
        class_scores([[0]], [0], CLASSES)
    with pytest.raises(ValueError, match=r"predicted must have a row of 4 a sample, but has the shape \(1, 3\)"):
        label_set_scores([[0, 0, 0, 1]], [[0, 0, 1]], CLASSES)
    with pytest.raises(ValueError, match="gold must hold 0 and 1 alone"):
        label_set_scores([[0, 0, 0, 2]], [[0, 0, 1, 1]], CLASSES)
    with pytest.raises(ValueError, match="predicted must have 1 samples as gold has, but has 2"):
        label_set_scores([[0, 0, 0, 1]], [[0, 0, 1, 1]] * 2, CLASSES)
