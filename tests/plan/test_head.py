"""A trained head's rows are found by the names of their classes."""

import pytest

from biodist.plan.head import matched_head, named_head

LABELS = ("entailment", "neutral", "contradiction")


def config(names, architecture="BertForSequenceClassification"):
    return {"architectures": [architecture], "id2label": {str(row): name for row, name in enumerate(names)}}


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        (LABELS, (0, 1, 2)),
        (("contradiction", "entailment", "neutral"), (1, 2, 0)),
        (("CONTRADICTION", "Neutral", "ENTAILMENT"), (2, 1, 0)),
        (None, None),
        ((), None),
        (("contradiction", "entailment"), None),
        (("contradiction", "entailment", "no"), None),
        (("entailment", "entailment", "neutral"), None),
        (("LABEL_0", "LABEL_1", "LABEL_2"), None),
    ],
)
def test_rows_belong_to_names_whatever_their_order_and_case(head, rows):
    assert matched_head(head, LABELS) == rows


def test_names_that_differ_in_case_alone_are_told_apart():
    assert matched_head(("b", "B"), ("B", "b")) == (1, 0)
    assert matched_head(("b", "B"), ("b", "a")) is None
    assert matched_head(("STRASSE", "x"), ("straße", "x")) == (0, 1)


def test_names_that_nobody_gave_say_nothing_even_where_they_agree():
    made_up = ("LABEL_1", "LABEL_0")
    assert matched_head(made_up, made_up) is None


def test_the_head_of_a_config():
    assert named_head(config(LABELS), "nli") == LABELS
    assert named_head(config(LABELS), "classification") == LABELS
    tags = ("I-Disease", "O", "B-Disease")
    assert named_head(config(tags, "RobertaForTokenClassification"), "ner") == tags
    assert matched_head(tags, ("O", "B-Disease", "I-Disease")) == (1, 2, 0)
    rows = {"architectures": ["BertForSequenceClassification"], "id2label": {10: "k", **dict(enumerate("abcdefghij"))}}
    assert named_head(rows, "nli") == tuple("abcdefghijk")  # by number, not by the text of it


@pytest.mark.parametrize(
    "found",
    [
        [],
        {},
        {"architectures": ["BertModel"], "id2label": {"0": "a"}},
        {"architectures": ["BertForTokenClassification"], "id2label": {"0": "a"}},
        {"architectures": ["BertForSequenceClassification"]},
        {"architectures": ["BertForSequenceClassification"], "id2label": ["a"]},
        {"architectures": ["BertForSequenceClassification"], "id2label": {}},
        {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "2": "b"}},
        {"architectures": ["BertForSequenceClassification"], "id2label": {"x": "a"}},
        {"architectures": None, "id2label": {"0": "a"}},
    ],
)
def test_what_is_no_named_classifier_of_the_kind_has_none(found):
    assert named_head(found, "nli") is None
    assert named_head(config(LABELS), "qa") is None
