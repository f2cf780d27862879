"""Tokenizers as `tokenizers` sees them: from a model's folder, or trained on a corpus. No transformers.

Words are given pre-split, so that byte-level vocabularies put a space before every word; texts are given whole, by the
encoder's own settings. No tokenizer here pads or truncates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece

from biodist.data.vocabulary import WORDPIECE_SPECIALS, wordpiece_vocabulary
from biodist.errors import Problem, UserError

CONFIG = "tokenizer_config.json"
BERT_NAMES = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
ROBERTA_NAMES = {
    "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>",
    "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>",
}  # fmt: skip


def load_tokenizer(folder: Path, split_words: bool = True) -> Tokenizer:
    """The tokenizer of a model's folder: ``tokenizer.json``; else ``vocab.txt`` (WordPiece); else ``vocab.json`` and
    ``merges.txt`` (byte-level BPE). For words given one by one (``split_words``), or for whole texts, which it then
    treats as the encoder's own tokenizer does. Raises UserError where there is none, or one that does not load."""
    try:
        if (folder / "tokenizer.json").is_file():
            loaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
        elif (folder / "vocab.txt").is_file():
            loaded = _wordpiece(folder)
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            loaded = _byte_bpe(folder)
        else:
            wanted = "tokenizer.json, vocab.txt, or vocab.json and merges.txt"
            state = "holds no tokenizer" if folder.is_dir() else "is no folder that can be read"
            raise UserError(Problem(f"model.name {folder}", state, f"the folder of an encoder holds {wanted}"))
        return _given(loaded, split_words)
    except UserError:
        raise
    except Exception as error:  # `tokenizers` raises bare Exception for whatever a file can be wrong in
        reason = str(error) or type(error).__name__
        raise UserError(
            Problem(f"model.name {folder}", f"its tokenizer does not load: {reason}", "download it again")
        ) from error


def train_wordpiece(texts: Iterable[str], size: int, lower_case: bool = False) -> Tokenizer:
    """A WordPiece tokenizer of at most ``size`` entries, trained on the words of ``texts``. Deterministic."""
    tokenizer = _bert_shell(WordPiece({"[UNK]": 0}, unk_token="[UNK]"), lower_case, lower_case)
    vocabulary = wordpiece_vocabulary(texts, size, tokenizer.normalizer, tokenizer.pre_tokenizer)
    tokenizer.model = WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    _frame(tokenizer, "[CLS]", "[SEP]")
    tokenizer.add_special_tokens(list(WORDPIECE_SPECIALS))
    return tokenizer


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of everything the tokenizer does, independent of how its folder wrote it down."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def write_tokenizer(tokenizer: Tokenizer, folder: Path, model_folder: Path | None = None) -> None:
    """Writes a Hugging Face tokenizer folder that `AutoTokenizer` loads with the same ids.

    Settings (special tokens, casing) come from ``model_folder`` where it has them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    config = _read_config(model_folder) if model_folder else {}
    names = ROBERTA_NAMES if tokenizer.token_to_id("[CLS]") is None else BERT_NAMES
    present = {role: name for role, name in names.items() if tokenizer.token_to_id(name) is not None}
    # The generic class reads tokenizer.json as it is; the class of a model rebuilds it by its own idea of the casing.
    written = {**present, **config, "tokenizer_class": "PreTrainedTokenizerFast"}
    for step in _steps(json.loads(tokenizer.to_str())["pre_tokenizer"]):
        if step["type"] == "ByteLevel":
            written["add_prefix_space"] = step["add_prefix_space"]
    (folder / CONFIG).write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _wordpiece(folder: Path) -> Tokenizer:
    config = _read_config(folder)
    vocabulary = WordPiece.read_file(str(folder / "vocab.txt"))
    names = {role: _name(config.get(role), name) for role, name in BERT_NAMES.items()}
    lacking = [names[role] for role in ("unk_token", "cls_token", "sep_token") if names[role] not in vocabulary]
    if lacking:
        raise UserError(
            Problem(
                str(folder / "vocab.txt"),
                f"lacks the special tokens {', '.join(lacking)}",
                "take the model's own vocab.txt",
            )
        )
    lower_case = config.get("do_lower_case")
    if lower_case is None:
        lower_case = not is_cased(vocabulary)
    model = WordPiece(vocabulary, unk_token=names["unk_token"], max_input_chars_per_word=100)
    tokenizer = _bert_shell(model, lower_case, config.get("strip_accents"), config.get("tokenize_chinese_chars", True))
    _frame(tokenizer, names["cls_token"], names["sep_token"])
    tokenizer.add_special_tokens([name for name in names.values() if name in vocabulary])
    return tokenizer


def is_cased(vocabulary: Iterable[str]) -> bool:
    """Whether a WordPiece vocabulary has capital letters, its special tokens apart.

    Folders that hold ``vocab.txt`` alone (BioBERT, Bio_ClinicalBERT) say nothing of their casing, and the usual
    default, lower case, turns every capital into [UNK] pieces.
    """
    return any(entry != entry.lower() for entry in vocabulary if not (entry.startswith("[") and entry.endswith("]")))


def _bert_shell(model: WordPiece, lower_case: bool, strip_accents: bool | None, chinese: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese, strip_accents=strip_accents, lowercase=lower_case
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _frame(tokenizer: Tokenizer, first: str, last: str, pair: str = "{0} $A {1} $B:1 {1}:1") -> None:
    """Puts the special tokens ``first`` and ``last`` around one sequence, and around two as ``pair`` has them."""
    ids = [(name, tokenizer.token_to_id(name)) for name in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=pair.format(first, last), special_tokens=ids
    )


def _byte_bpe(folder: Path) -> Tokenizer:
    config = _read_config(folder)
    names = {role: _name(config.get(role), name) for role, name in ROBERTA_NAMES.items()}
    tokenizer = Tokenizer(BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    lacking = [names[role] for role in ("cls_token", "sep_token") if tokenizer.token_to_id(names[role]) is None]
    if lacking:
        raise UserError(
            Problem(
                str(folder / "vocab.json"),
                f"lacks the special tokens {', '.join(lacking)}",
                "take the model's own vocab.json",
            )
        )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=config.get("add_prefix_space", False))
    tokenizer.decoder = decoders.ByteLevel()
    _frame(tokenizer, names["cls_token"], names["sep_token"], pair="{0} $A {1} {1} $B {1}")
    present = sorted({name for name in names.values() if tokenizer.token_to_id(name) is not None})
    tokenizer.add_special_tokens(
        [AddedToken(name, lstrip=name == names["mask_token"], normalized=False) for name in present]
    )
    return tokenizer


def _given(tokenizer: Tokenizer, split_words: bool) -> Tokenizer:
    """The same tokenizer without padding and truncation; for words given one by one with a space before each."""
    settings = json.loads(tokenizer.to_str())
    settings["padding"] = settings["truncation"] = None
    for step in _steps(settings.get("pre_tokenizer")) if split_words else ():
        if step["type"] == "ByteLevel":
            step["add_prefix_space"] = True
        elif step["type"] == "Metaspace":
            step["prepend_scheme"] = "always"
    return Tokenizer.from_str(json.dumps(settings, ensure_ascii=False))


def _steps(step: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A pre-tokenizer's steps, sequences opened."""
    if step:
        yield step
        for part in step.get("pretokenizers", ()):
            yield from _steps(part)


def _read_config(folder: Path) -> dict[str, Any]:
    """The folder's tokenizer settings; older folders keep the special tokens in a file of their own."""
    return {**_read_json(folder / "special_tokens_map.json"), **_read_json(folder / CONFIG)}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(Problem(str(path), "is not JSON", "download it again")) from error
    return value if isinstance(value, dict) else {}


def _name(written: object, otherwise: str) -> str:
    """A special token as configs write it: a string, or an object with ``content``."""
    content = written.get("content") if isinstance(written, dict) else written
    return content if isinstance(content, str) else otherwise
