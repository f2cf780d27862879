"""Windows: every word owned once, none too long, one prediction a word."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.data.tokenizer import train_wordpiece
from biodist.data.windows import IGNORED, WordPieces, cut, make_windows

SENTENCE = "the polyposis coli gene was found mutated in colorectal tumours"
TEXT = SENTENCE.split()
PIECES = WordPieces(train_wordpiece(TEXT, 90))
SAMPLE = st.lists(st.sampled_from([*TEXT, "qq", "\u200b", "colipolyposiscoli", "x" * 150]), min_size=1, max_size=60)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=60), st.integers(9, 40), st.integers(0, 50))
def test_each_word_belongs_where_its_poorer_side_is_richest(sizes, room, stride):
    spans = cut(sizes, room, stride)
    begins = np.concatenate(([0], np.cumsum(sizes, dtype=int)))
    owner = [at for at, span in enumerate(spans) for _ in range(span.owned_start, span.owned_end)]
    assert [word for span in spans for word in range(span.owned_start, span.owned_end)] == list(range(len(sizes)))
    for word in range(len(sizes)):
        context = {
            at: min(begins[word] - begins[span.start], begins[span.end] - begins[word + 1])
            for at, span in enumerate(spans)
            if span.start <= word < span.end
        }
        assert owner[word] == max(context, key=lambda at: (context[at], -at))
    assert all(0 < sum(sizes[span.start : span.end]) <= room for span in spans)
    assert all(sum(sizes[later.start : span.end]) <= stride for span, later in pairwise(spans))


@settings(max_examples=300, deadline=None)
@given(SAMPLE, st.integers(5, 40), st.integers(0, 30))
def test_windows_decode_to_one_prediction_a_word(words, max_length, stride):
    labels = list(range(len(words)))  # stand-ins that tell where each one lands
    windows = make_windows(words, labels, PIECES, max_length, stride)
    decoded = {}
    for window in windows:
        assert len(window.input_ids) == len(window.labels) == len(window.words) <= max_length
        assert window.input_ids[0] == PIECES.prefix[0] and window.input_ids[-1] == PIECES.suffix[0]
        owned = window.words >= 0
        assert np.array_equal(owned, window.labels != IGNORED)
        assert np.all(np.diff(window.words[owned]) == 1)
        for word, label, piece in zip(window.words[owned], window.labels[owned], window.input_ids[owned], strict=True):
            assert int(word) not in decoded and piece == PIECES[words[word]][0]
            decoded[int(word)] = int(label)
    assert list(decoded.items()) == list(enumerate(labels))


def test_a_short_sample_is_one_window_of_all_its_pieces():
    (window,) = make_windows(["the", "coli"], [0, 1], PIECES, 64, 8)
    pieces = [*PIECES["the"], *PIECES["coli"]]
    assert window.input_ids.tolist() == [*PIECES.prefix, *pieces, *PIECES.suffix]
    assert (window.input_ids.dtype, window.labels.dtype, window.words.dtype) == (np.int32, np.int16, np.int32)


def test_a_word_without_a_piece_is_unknown_not_lost():
    (window,) = make_windows(["\u200b"], [1], PIECES, 16, 0)
    assert window.labels.tolist() == [IGNORED, 1, IGNORED] and PIECES["\u200b"] == PIECES["\u4e2d"]


def test_pieces_are_those_of_the_whole_sentence():
    tokenizer = train_wordpiece(TEXT, 90)
    known = WordPieces(tokenizer)
    known.learn(TEXT)
    together = tokenizer.encode(TEXT, is_pretokenized=True, add_special_tokens=False).ids
    assert [piece for word in TEXT for piece in known[word]] == together


def test_no_room_for_a_word():
    with pytest.raises(ValueError, match="leaves no room"):
        make_windows(["the"], [0], PIECES, 2, 0)
