"""The quickstart's corpus: generated, deterministic, in the manner of biomedical abstracts.

What it is made of, and what it can and cannot show, is in ``docs/quickstart.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from biodist.data.generate.draw import Draw
from biodist.data.generate.phrases import TYPES
from biodist.data.generate.sentences import Sentence, Sentences
from biodist.data.generate.splits import SPLITS, Split
from biodist.run.durable import write_text

LABELS: Final = TYPES
SEED: Final = 13
SIZES: Final[dict[Split, int]] = {"train": 8000, "validation": 500, "test": 800}  # sentences

__all__ = ["LABELS", "SEED", "SIZES", "SPLITS", "corpus", "files", "generate"]


def corpus(split: Split, sentences: int, seed: int = SEED) -> list[Sentence]:
    """The sentences of one split, each a tuple of (token, IOB2 tag).

    The same arguments give the same sentences on every machine. Names and clause patterns of one split are found in
    no other, whatever the seeds and sizes.
    """
    source = Sentences(split, Draw(seed * len(SPLITS) + SPLITS.index(split)))
    return [source.sentence() for _ in range(sentences)]


def files(
    seed: int = SEED,
    train: int = SIZES["train"],
    validation: int = SIZES["validation"],
    test: int = SIZES["test"],
) -> dict[str, str]:
    """File name -> text of the whole corpus: ``token TAB tag`` a line, IOB2, an empty line after each sentence.

    Sizes are numbers of sentences.
    """
    sizes: dict[Split, int] = {"train": train, "validation": validation, "test": test}
    return {f"{split}.tsv": _text(corpus(split, sentences, seed)) for split, sentences in sizes.items()}


def generate(
    folder: Path,
    seed: int = SEED,
    train: int = SIZES["train"],
    validation: int = SIZES["validation"],
    test: int = SIZES["test"],
) -> None:
    """Writes `files` into ``folder``, which is made where it is missing; each file is replaced whole or not at all.

    Raises OSError when the disk is full or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files(seed, train, validation, test).items():
        write_text(folder / name, text)


def _text(sentences: list[Sentence]) -> str:
    return "".join("".join(f"{token}\t{tag}\n" for token, tag in sentence) + "\n" for sentence in sentences)
