"""What a data index is a function of, as one SHA-256: its name in the cache and the data's part of the sample order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import cast

from biodist.config.corpora import TEXT_TASKS, has_pairs
from biodist.config.recipe import CorpusEntry, Recipe
from biodist.data.iob import Format, Source
from biodist.data.tags import PREFIXES
from biodist.data.texts import FORMATS, TextSource
from biodist.errors import Problem, UserError

VERSION = 1  # of what is stored; a change here makes every index anew


def split_entries(recipe: Recipe) -> dict[str, tuple[CorpusEntry, ...]]:
    """The corpora of each split that has any."""
    splits = {"train": recipe.data.train, "validation": recipe.data.validation, "test": recipe.data.test}
    return {split: entries for split, entries in splits.items() if entries}


def tagged_source(recipe: Recipe, entry: CorpusEntry) -> Source:
    """How a tagged file of the recipe is read. Raises UserError for a format that no reader here knows."""
    if entry.format not in PREFIXES:
        raise _no_reader(entry, tuple(PREFIXES))
    return Source(
        path=Path(entry.path).expanduser(),
        format=cast(Format, entry.format),
        corpus=entry.corpus,
        declared=tuple(kind for kind in recipe.data.labels if entry.annotates is None or kind in entry.annotates),
        rename=entry.map,
        repair=recipe.data.repair,
    )


def text_source(recipe: Recipe, entry: CorpusEntry) -> TextSource:
    """How a file of texts of the recipe is read. Raises UserError for a format that no reader here knows."""
    if entry.format not in FORMATS:
        raise _no_reader(entry, FORMATS)
    return TextSource(
        path=Path(entry.path).expanduser(),
        format=entry.format,
        columns=entry.columns_for(recipe.task),
        corpus=entry.corpus,
        declared=recipe.data.labels,
        rename=entry.map,
        multi_label=recipe.data.multi_label,
        no_majority=recipe.task == "nli",
    )


def _no_reader(entry: CorpusEntry, known: tuple[str, ...]) -> UserError:
    return UserError(Problem(entry.path, f"format {entry.format} has no reader", f"known: {', '.join(known)}"))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises OSError."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def data_fingerprint(recipe: Recipe, tokenizer: str | None) -> str:
    """SHA-256 over the bytes of each file, how it is read, the tokenizer's digest, labels and window settings.

    Paths are no part of it. ``tokenizer`` is None under ``init: scratch``: there the vocabulary follows from the
    training files and the settings. Raises UserError naming every file that cannot be read.
    """
    data, problems = recipe.data, []
    is_text = recipe.task in TEXT_TASKS
    digests: dict[str, list[dict[str, object]]] = {}
    for split, entries in split_entries(recipe).items():
        digests[split] = []
        for entry in entries:
            read = text_source(recipe, entry) if is_text else tagged_source(recipe, entry)
            try:
                content = file_digest(read.path)
            except OSError as error:
                reason = "cannot be read: " + (error.strerror or type(error).__name__)
                problems.append(Problem(str(read.path), reason, f"check the path in data.{split} and its rights"))
                continue
            digests[split].append(
                {
                    "sha256": content,
                    "corpus": read.name,
                    "format": read.format,
                    "declared": read.declared,
                    "map": dict(sorted(entry.map.items())),
                    **({"columns": read.columns.model_dump()} if isinstance(read, TextSource) else {}),
                }
            )
    if problems:
        raise UserError(problems)
    scratch = recipe.model.scratch
    facts = {
        "version": VERSION,
        "files": digests,
        "tokenizer": tokenizer or {"vocab_size": scratch.vocab_size, "lower_case": scratch.lower_case},
        "labels": data.labels,
        "max_length": data.max_length,
        **(_of_texts(recipe) if is_text else {"stride": data.stride, "repair": data.repair}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _of_texts(recipe: Recipe) -> dict[str, object]:
    """What the samples of texts depend on: of pairs what is cut, of single texts their windows."""
    data = recipe.data
    windows = {"truncate": data.truncate} if has_pairs(recipe) else {"stride": data.stride, "most": data.max_windows}
    return {"task": recipe.task, "multi_label": data.multi_label, **windows}
