"""The data index: counts and lengths of a recipe's corpora, made once by `biodist.data.indexing`."""

from __future__ import annotations

from biodist.config.recipe import Section


class SplitIndex(Section):
    """What the plan needs to know of one split."""

    samples: int
    windows: int
    tokens: int  # fed to the model in one pass, special ones included
    targets: int  # tokens that count in the loss (each word once)
    lengths: dict[int, int]  # window length in tokens -> how many windows
    types: dict[str, int]  # entity type or class -> mentions
    repaired: int = 0  # broken tag sequences mended (data.repair)

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)


class DataIndex(Section):
    """Counts and lengths of every split, and where the tokenised samples lie.

    ``fingerprint`` is a SHA-256 over everything the tokenised samples depend on: the bytes of each file, its
    reader's options, the tokenizer, the labels and the window settings. ``store`` is the folder with one Arrow
    file a split; ``tokenizer`` the folder with `tokenizer.json`.
    """

    fingerprint: str
    store: str
    tokenizer: str
    labels: tuple[str, ...]  # what the classifier's outputs mean, in order: O, B-Disease, I-Disease, …
    vocab_size: int
    splits: dict[str, SplitIndex]  # train, validation, test
