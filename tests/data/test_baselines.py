"""The baselines on a corpus small enough to work out by hand, and on the generated one."""

import pytest

from biodist.data.baselines import dictionary_baseline, linear_baseline, read_sentences
from biodist.data.generate import corpus

pytestmark = pytest.mark.timeout(60)


def tagged(text):
    """``flu/B-Disease is bad``: tokens with their tags, O where none is given."""
    return tuple((token, tag or "O") for token, _, tag in (word.partition("/") for word in text.split()))


TRAIN = [
    tagged("flu/B-Disease was seen"),
    tagged("bird/B-Disease flu/I-Disease was rare"),
    tagged("CAT/B-Gene was low and CAT/B-Gene was high and CAT/B-Chemical was bitter"),
]


def test_dictionary_takes_the_longest_match_and_the_commonest_type():
    test = [tagged("bird/B-Disease flu/I-Disease or flu/B-Disease or CAT/B-Gene was seen")]
    assert dictionary_baseline(TRAIN, test).f1 == 1.0


def test_dictionary_counts_a_name_with_a_wrong_end_or_type_as_wrong():
    # Found: flu (right), CAT as Gene (wrong type), flu inside swine flu (wrong start). Missed: asthma.
    test = [tagged("flu/B-Disease CAT/B-Chemical swine/B-Disease flu/I-Disease asthma/B-Disease")]
    score = dictionary_baseline(TRAIN, test)
    assert (score.precision, score.recall) == (pytest.approx(1 / 3), pytest.approx(1 / 4))
    assert score.f1 == pytest.approx(2 / 7)


def test_a_dictionary_of_nothing_finds_nothing():
    score = dictionary_baseline([tagged("nothing here")], [tagged("flu/B-Disease was seen")])
    assert (score.precision, score.recall, score.f1) == (0.0, 0.0, 0.0)


def test_linear_sees_endings_and_neighbours():
    train = [tagged(f"{stem}itis/B-Disease was seen") for stem in ("nephr", "hepat", "derm")] * 5
    train += [tagged(f"drug {stem}a/B-Chemical was given") for stem in ("pol", "kes", "vor")] * 5
    unseen = [tagged("gastritis/B-Disease was seen"), tagged("drug xyz/B-Chemical was given")]
    assert linear_baseline(train, unseen).f1 == 1.0


def test_linear_cannot_see_past_its_neighbours():
    # The first word decides, two words before the name; in test the names are new and end like neither.
    train = [tagged(f"{cue} of x{number}q/B-{kind} .") for number in range(20) for cue, kind in CUES]
    unseen = [tagged(f"{cue} of y{number}z/B-{kind} .") for number in range(20) for cue, kind in CUES]
    assert linear_baseline(train, unseen).f1 == 0.5


CUES = (("expression", "Gene"), ("dose", "Chemical"))


def test_sentences_are_read_back_as_they_were_written(tmp_path):
    path = tmp_path / "corpus.tsv"
    path.write_text("flu\tB-Disease\nwas\tO\n\nCAT\tB-Gene\n\n", encoding="utf-8")
    assert read_sentences(path) == [(("flu", "B-Disease"), ("was", "O")), (("CAT", "B-Gene"),)]


def test_neither_solves_the_generated_corpus():
    train, test = corpus("train", 8000), corpus("test", 800)
    assert dictionary_baseline(train, test).f1 == 0.0  # no name of test is in train: nothing can match
    linear = linear_baseline(train, test)
    assert 0.4 < linear.f1 < 0.75
