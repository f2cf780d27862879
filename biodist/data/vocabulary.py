"""A WordPiece vocabulary from words: the same words give the same vocabulary, in every process and on every machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Normalizer
from tokenizers.pre_tokenizers import PreTokenizer
from tokenizers.trainers import WordPieceTrainer

WORDPIECE_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALPHABET_SHARE = 4  # single characters take at most a quarter of the vocabulary, inside a word as at its start


def wordpiece_vocabulary(
    texts: Iterable[str], size: int, normalizer: Normalizer, splitter: PreTokenizer
) -> dict[str, int]:
    """At most ``size`` entries (special tokens first), trained on ``texts`` after normalising and splitting.

    `WordPieceTrainer` numbers the inner characters (``##a``) in the random order of a hash map, and breaks ties between
    merges by these numbers. Given beforehand, sorted, as if they were special tokens, they leave nothing to chance.
    """
    words: Counter[str] = Counter()
    for text, count in Counter(texts).items():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            words[word] += count
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    common = sorted(characters, key=lambda character: (-characters[character], character))
    alphabet = sorted(common[: max(1, size // (2 * ALPHABET_SHARE))])
    inner = sorted({character for word in words for character in word[1:]} & set(alphabet))
    trainer = WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*WORDPIECE_SPECIALS, *(f"##{character}" for character in inner)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learner = Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    learner.normalizer, learner.pre_tokenizer = normalizer, splitter
    learner.train_from_iterator((word for word, count in sorted(words.items()) for _ in range(count)), trainer)
    return learner.get_vocab()
