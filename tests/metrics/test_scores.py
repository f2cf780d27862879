"""Entity scores: seqeval's own numbers, and on valid tags those of a scorer by spans."""

import warnings

import pytest
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.scheme import IOB2

from biodist.metrics.scores import entity_scores, merged_scores

pytestmark = pytest.mark.timeout(120)

TYPES = ("Disease", "Cell-line", "Gene")
TAGS = ["O", *(f"{prefix}-{name}" for name in TYPES for prefix in "BI")]

shapes = st.lists(st.integers(0, 8), min_size=1, max_size=6)


def tag_sequences(sizes):
    return st.tuples(*(st.lists(st.sampled_from(TAGS), min_size=size, max_size=size) for size in sizes)).map(list)


@st.composite
def valid_tags(draw, size):
    """IOB2 in which every I- follows its own type."""
    tags = []
    for _ in range(size):
        inside = [f"I-{tags[-1][2:]}"] if tags and tags[-1] != "O" else []
        tags.append(draw(st.sampled_from(["O", *(f"B-{name}" for name in TYPES), *inside, *inside, *inside])))
    return tags


def spans(sequences):
    """(sequence, first, last, type) of each mention: begun by B-; an I- that continues none of its type is none."""
    found = set()
    for number, tags in enumerate(sequences):
        for first, tag in enumerate(tags):
            if tag.startswith("B-"):
                last = first
                while last + 1 < len(tags) and tags[last + 1] == f"I-{tag[2:]}":
                    last += 1
                found.add((number, first, last, tag[2:]))
    return found


def ratio(part, whole):
    return part / whole if whole else 0.0


def by_spans(gold, predicted):
    right, found, wanted = len(gold & predicted), len(predicted), len(gold)
    precision, recall = ratio(right, found), ratio(right, wanted)
    return precision, recall, ratio(2 * precision * recall, precision + recall)


@given(data=st.data(), sizes=shapes)
@settings(max_examples=80, deadline=None)
def test_equal_to_seqeval_on_any_tags(data, sizes):
    gold, predicted = data.draw(tag_sequences(sizes)), data.draw(tag_sequences(sizes))
    scores = entity_scores(gold, predicted, TYPES)
    assert scores["precision"] == seqeval.metrics.precision_score(gold, predicted, zero_division=0)
    assert scores["recall"] == seqeval.metrics.recall_score(gold, predicted, zero_division=0)
    assert scores["f1"] == seqeval.metrics.f1_score(gold, predicted, zero_division=0)
    if sum(sizes):
        assert scores["accuracy"] == seqeval.metrics.accuracy_score(gold, predicted)
    mentioned = {kind for kind, _, _ in seqeval.metrics.sequence_labeling.get_entities(gold + predicted)}
    if not mentioned:  # seqeval's own report fails on no mention at all
        return
    report = seqeval.metrics.classification_report(gold, predicted, output_dict=True, zero_division=0)
    for name, expected in report.items():
        if name in TYPES:
            got = scores["types"][name]
            assert (got["precision"], got["recall"], got["f1"], got["support"]) == tuple(
                expected[key] for key in ("precision", "recall", "f1-score", "support")
            )
    assert {name for name, score in scores["types"].items() if score["support"] or score["f1"]} <= mentioned


@given(data=st.data(), sizes=shapes)
@settings(max_examples=80, deadline=None)
def test_equal_to_a_scorer_by_spans_on_valid_tags(data, sizes):
    gold = [data.draw(valid_tags(size)) for size in sizes]
    predicted = [data.draw(valid_tags(size)) for size in sizes]
    scores = entity_scores(gold, predicted, TYPES)
    wanted, found = spans(gold), spans(predicted)
    assert (scores["precision"], scores["recall"], scores["f1"]) == pytest.approx(by_spans(wanted, found), abs=1e-12)
    for name in TYPES:
        of_gold, of_predicted = ({span for span in side if span[3] == name} for side in (wanted, found))
        got = scores["types"][name]
        assert (got["precision"], got["recall"], got["f1"]) == pytest.approx(by_spans(of_gold, of_predicted), abs=1e-12)
        assert got["support"] == len(of_gold)


@pytest.mark.parametrize(
    ("gold", "predicted", "accuracy"),
    [
        ([], [], 0.0),
        ([[]], [[]], 0.0),
        ([[], []], [[], []], 0.0),
        ([["O", "O"]], [["O", "O"]], 1.0),
        ([["O", "O"]], [["O", "B-Gene"]], 0.5),
        ([["B-Gene", "O"]], [["O", "O"]], 0.5),
    ],
)
def test_what_is_undefined_is_zero_and_warns_of_nothing(gold, predicted, accuracy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = entity_scores(gold, predicted, TYPES)
    assert (scores["precision"], scores["recall"], scores["f1"], scores["accuracy"]) == (0.0, 0.0, 0.0, accuracy)
    assert list(scores["types"]) == list(TYPES)
    assert scores["types"]["Gene"]["support"] == sum(tags.count("B-Gene") for tags in gold)


def test_values_are_plain_numbers_and_types_keep_the_recipes_order():
    scores = entity_scores((("B-Zoo", "O", "B-Gene"),), (("B-Zoo", "O", "O"),), ("Gene", "Disease"))
    assert list(scores["types"]) == ["Gene", "Disease", "Zoo"]
    assert {type(value) for name, value in scores.items() if name != "types"} == {float}
    assert {type(value) for score in scores["types"].values() for value in score.values()} == {float, int}
    assert scores["types"]["Zoo"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}


def test_sequences_that_do_not_match_are_named():
    with pytest.raises(ValueError, match="predicted must have 2 sequences as gold has, but has 1"):
        entity_scores([["O"], ["O"]], [["O"]], TYPES)
    with pytest.raises(ValueError, match=r"predicted\[1\] must have 2 tags as gold has, but has 1"):
        entity_scores([["O"], ["O", "O"]], [["O"], ["O"]], TYPES)


def test_corpora_are_scored_together_and_each_on_its_own_types():
    gold = [["B-Disease", "O"], ["O", "B-Gene"], ["B-Gene", "O"]]
    predicted = [["B-Disease", "O"], ["O", "O"], ["B-Gene", "B-Gene"]]
    corpora = {"d": (range(1), ("Disease",)), "g": (range(1, 3), ("Gene",)), "none": (range(3, 3), ("Gene",))}
    scores = merged_scores(gold, predicted, ("Disease", "Gene"), corpora)
    assert {name: scores[name] for name in entity_scores([], [], ())} == entity_scores(gold, predicted, TYPES[::2])
    assert list(scores["corpora"]["d"]["types"]) == ["Disease"] and list(scores["corpora"]["g"]["types"]) == ["Gene"]
    assert {name: own["f1"] for name, own in scores["corpora"].items()} == {"d": 1.0, "g": 0.5, "none": 0.0}
    assert scores["macro_f1"] == 0.5
    assert scores["corpora"]["g"] == entity_scores(gold[1:], predicted[1:], ("Gene",))


def test_a_single_corpus_is_scored_as_before():
    gold, predicted = [["B-Gene"]], [["O"]]
    assert merged_scores(gold, predicted, TYPES, {"g": (range(1), TYPES)}) == entity_scores(gold, predicted, TYPES)


@given(data=st.data(), sizes=shapes)
@settings(max_examples=60, deadline=None)
def test_strict_is_seqeval_s_own(data, sizes):
    gold, predicted = data.draw(tag_sequences(sizes)), data.draw(tag_sequences(sizes))
    scores = entity_scores(gold, predicted, TYPES, strict=True)
    wanted, found = spans(gold), spans(predicted)
    assert (scores["precision"], scores["recall"], scores["f1"]) == pytest.approx(by_spans(wanted, found), abs=1e-12)
    if wanted or found:
        own = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
        assert scores["f1"] == seqeval.metrics.f1_score(gold, predicted, **own)
        assert scores["precision"] == seqeval.metrics.precision_score(gold, predicted, **own)
    for name in TYPES:
        assert scores["types"][name]["support"] == sum(span[3] == name for span in wanted)


@given(data=st.data(), sizes=shapes)
@settings(max_examples=40, deadline=None)
def test_equal_to_a_scorer_by_character_spans(data, sizes):
    """Words are cut from a text: a mention is its first and last character there."""
    gold = [data.draw(valid_tags(size)) for size in sizes]
    predicted = [data.draw(valid_tags(size)) for size in sizes]
    lengths = [data.draw(st.lists(st.integers(1, 9), min_size=size, max_size=size)) for size in sizes]

    def characters(sequences):
        starts = [[sum(row[:at]) + at for at in range(len(row))] for row in lengths]
        return {
            (number, starts[number][first], starts[number][last] + lengths[number][last], kind)
            for number, first, last, kind in spans(sequences)
        }

    expected = by_spans(characters(gold), characters(predicted))
    for strict in (False, True):  # valid tags have one reading
        scores = entity_scores(gold, predicted, TYPES, strict)
        assert (scores["precision"], scores["recall"], scores["f1"]) == pytest.approx(expected, abs=1e-12)
