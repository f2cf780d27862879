"""The data index: counts and lengths of a recipe's corpora, made once by `biodist.data.indexing`."""

from __future__ import annotations

from biodist.config.recipe import Section


class SplitIndex(Section):
    """What the plan needs to know of one split."""

    samples: int
    windows: int
    tokens: int  # fed to the model in one pass, special ones included
    targets: int  # what counts in the loss: tokens (each word once a pass), or samples labelled as a whole
    lengths: dict[int, int]  # window length in tokens -> how many windows
    types: dict[str, int]  # entity type -> mentions, or class -> samples
    repaired: int = 0  # broken tag sequences mended (data.repair)
    truncated: int = 0  # samples that were cut: pairs (data.truncate), long texts (data.max_windows)
    dropped: int = 0  # pairs without a majority label
    undeclared: int = 0  # MeSH terms outside data.labels
    overlapping: int = 0  # mentions left out because they overlap a longer one (data.overlaps)
    discontinuous: int = 0  # mentions with gaps, stretched over them or left out (data.discontinuous)
    wordless: int = 0  # mentions that hold no word, left out
    leaked: int = 0  # sentences of training left out because validation or test has them (data.leaks)
    augmented: int = 0  # copies with exchanged mentions among the samples (data.augment)

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
    labels: tuple[str, ...]  # what the classifier's outputs mean, in order: O, B-Disease, …, or data.labels
    vocab_size: int
    views: tuple[tuple[str, ...], ...] = ()  # sets of entity types that corpora annotate; `biodist.data.views`
    splits: dict[str, SplitIndex]  # train, validation, test
