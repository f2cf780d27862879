"""Sentences and words by rules: known texts, and what holds of any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.data.records import Document, Entity, Mention
from biodist.data.sentences import SentenceCounts, sentences


def cut(text: str, *mentions: Mention) -> list[str]:
    return [" ".join(record.tokens) for record in sentences(Document("1", "c", 1, text, mentions))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It grew. Then it fell! Why? Nobody knew.", ["It grew .", "Then it fell !", "Why ?", "Nobody knew ."]),
        ("E. coli (Fig. 3) vs. Others et al. Said so.", ["E . coli ( Fig . 3 ) vs . Others et al . Said so ."]),
        ("p53 fell 2.5-fold. 5 mice died.", ["p53 fell 2 . 5 - fold .", "5 mice died ."]),
        ('He said "yes." (Then he left.)', ['He said " yes . "', "( Then he left . )"]),
        ("A title\nThe text goes on\nover lines.", ["A title", "The text goes on over lines ."]),
        ("no stop\n\nnext part", ["no stop", "next part"]),
        ("items\n- one\n- two", ["items", "- one", "- two"]),
        ("¿Fue así? ¡Sí! Señor.", ["¿ Fue así ?", "¡ Sí !", "Señor ."]),
        ("e\u0301te\u0301 a_b\u200bc\u00add", ["e\u0301te\u0301 a _ b c d"]),
        (" \n\t ", []),
    ],
)
def test_known_texts(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


def test_a_mention_over_a_sentence_end_joins_and_is_counted() -> None:
    text = "Given St. John. Wort helps. Really."
    counts = SentenceCounts()
    mention = Mention(((6, 20),), "Drug")
    found = list(sentences(Document("1", "c", 1, text, (mention,)), counts))
    assert [" ".join(each.tokens) for each in found] == ["Given St . John . Wort helps .", "Really ."]
    assert counts.joined == 1 and found[0].entities == (Entity(1, 6, "Drug"),)


def test_a_word_is_split_where_a_mention_ends() -> None:
    counts = SentenceCounts()
    mentions = (Mention(((0, 3),), "Gene"), Mention(((4, 5),), "X"), Mention(((9, 10),), "X"))
    (record,) = sentences(Document("1", "c", 1, "p53null a  \u200b", mentions), counts)
    assert record.tokens == ("p53", "n", "u", "ll", "a") and record.entities == (
        Entity(0, 1, "Gene"),
        Entity(2, 3, "X"),
    )
    assert (counts.split_words, counts.wordless, counts.mentions) == (1, 1, {"Gene": 1, "X": 1})


def test_two_layers_are_refused() -> None:
    for mentions in ((Mention(((0, 3),), "A"), Mention(((2, 4),), "B")), (Mention(((0, 1), (2, 3)), "A"),)):
        with pytest.raises(ValueError, match="one layer"):
            list(sentences(Document("1", "c", 1, "abcd", mentions)))


def test_hostile_runs_take_linear_time() -> None:
    """A quadratic rule would take minutes here; the test's own limit is what holds it."""
    for text in ("." * 200_000, " " * 200_000, ". " * 100_000, "\n" * 200_000, "a." * 100_000, ".)" * 100_000):
        list(sentences(Document("1", "c", 1, text, ())))


PIECES = st.text("aB1. \n\t(é\u0301-_\u200b!?", max_size=80)


@given(PIECES, st.sets(st.integers(0, 79), max_size=8))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_of_any_text(text: str, places: set[int]) -> None:
    inside = sorted(place for place in places if place <= len(text))
    spans = list(zip(inside[::2], inside[1::2], strict=False))
    mentions = tuple(Mention((span,), "G") for span in spans)
    counts = SentenceCounts()
    found = list(sentences(Document("1", "c", 1, text, mentions), counts))
    offsets = [place for record in found for place in record.offsets or ()]
    assert all(
        text[start:end] == word
        for record in found
        for (start, end), word in zip(record.offsets or (), record.tokens, strict=True)
    )
    assert offsets == sorted(offsets) and all(start < end for start, end in offsets)
    covered = {place for start, end in offsets for place in range(start, end)}
    assert all(place in covered for place, letter in enumerate(text) if letter.isalnum() or letter in ".(-_!?")
    back = [(r.offsets[e.start][0], r.offsets[e.end - 1][1]) for r in found for e in r.entities]
    assert len(back) + counts.wordless == len(spans)
    for start, end in back:  # each is one of the file's, less the blanks at its ends
        assert any(
            first <= start and end <= last and not (covered & {*range(first, start), *range(end, last)})
            for first, last in spans
        )
