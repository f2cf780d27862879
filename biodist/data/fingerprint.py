"""What a data index is a function of, as one SHA-256: its name in the cache and the data's part of the sample order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import cast

from biodist.config.corpora import TEXT_TASKS, annotated_types, has_pairs, is_hub_id, views_of
from biodist.config.recipe import CORPUS, CorpusEntry, Recipe
from biodist.data.formats.source import ANNOTATED, DocumentSource, Hub
from biodist.data.iob import Format, Source
from biodist.data.sentences import RULES
from biodist.data.tags import PREFIXES
from biodist.data.texts import FORMATS, TextSource
from biodist.errors import Problem, UserError

VERSION = 1  # of these facts; a change here gives every corpus another order (`indexing.LAYOUT` does not)


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
        declared=annotated_types(entry, recipe.data),
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


def document_source(recipe: Recipe, entry: CorpusEntry) -> DocumentSource:
    """How a corpus of the recipe that marks characters is read. Raises UserError for a format that no reader knows."""
    format = next((name for name in ANNOTATED if name == entry.format), None)
    if format is None:
        raise _no_reader(entry, (*PREFIXES, *ANNOTATED))
    return DocumentSource(
        path=Path(entry.path).expanduser(),
        format=format,
        corpus=entry.corpus,
        declared=annotated_types(entry, recipe.data),
        rename=entry.map,
        overlaps=recipe.data.overlaps,
        discontinuous=recipe.data.discontinuous,
        fields=entry.fields,
        hub=Hub(entry.subset, entry.part, entry.revision),
    )


def word_source(recipe: Recipe, entry: CorpusEntry) -> Source | DocumentSource:
    """How a corpus of words is read: a tagged file, or one that marks characters."""
    return tagged_source(recipe, entry) if entry.format in PREFIXES else document_source(recipe, entry)


def _no_reader(entry: CorpusEntry, known: tuple[str, ...]) -> UserError:
    return UserError(Problem(entry.path, f"format {entry.format} has no reader", f"known: {', '.join(known)}"))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises OSError."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def source_digest(source: Source | TextSource | DocumentSource) -> str:
    """SHA-256 of a corpus: of a file's bytes, of a folder's names and files, of the rows a hub gives.

    Raises OSError, and UserError where a hub does not give the data set.
    """
    path = source.path
    if isinstance(source, DocumentSource) and source.format == "bigbio" and is_hub_id(str(path)):
        from biodist.data.formats.bigbio import rows_digest

        return rows_digest(source)
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.is_file())
    elif isinstance(source, DocumentSource) and source.format == "brat":
        files = [path.with_suffix(".txt"), path.with_suffix(".ann")]
    else:
        return file_digest(path)
    named = [(str(file.relative_to(path if path.is_dir() else path.parent)), file_digest(file)) for file in files]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


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
            read = text_source(recipe, entry) if is_text else word_source(recipe, entry)
            try:
                content = source_digest(read)
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
                    **_of_source(read),
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
        **(_of_texts(recipe) if is_text else {"stride": data.stride, "repair": data.repair, **_of_merging(recipe)}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _of_source(source: Source | TextSource | DocumentSource) -> dict[str, object]:
    """What else the samples of a file depend on, by what it is."""
    if isinstance(source, TextSource):
        return {"columns": source.columns.model_dump()}
    if isinstance(source, Source):
        return {}
    layer = {"overlaps": source.overlaps, "discontinuous": source.discontinuous}
    return {**layer, "fields": source.fields.model_dump(), "part": source.hub.part, "sentences": RULES}


def _of_merging(recipe: Recipe) -> dict[str, object]:
    """What several corpora's samples depend on besides, where it is not as usual."""
    data, facts = recipe.data, dict[str, object]()
    if data.merge == "tagged" and len(views_of(recipe)) > 1:
        facts["merge"] = data.merge
    if data.leaks == "keep":
        facts["leaks"] = data.leaks
    if data.augment is not None:
        facts["augment"] = {**data.augment.model_dump(), "sources": [*map(_names_digest, data.augment.sources)]}
    return facts


def _names_digest(source: str) -> str:
    """SHA-256 of the file of names; the training files are in the facts already."""
    if source == CORPUS:
        return source
    try:
        return file_digest(Path(source).expanduser())
    except OSError as error:
        reason = "cannot be read: " + (error.strerror or type(error).__name__)
        raise UserError(Problem(source, reason, "check the path in data.augment.sources and its rights")) from error


def _of_texts(recipe: Recipe) -> dict[str, object]:
    """What the samples of texts depend on: of pairs what is cut, of single texts their windows."""
    data = recipe.data
    windows = {"truncate": data.truncate} if has_pairs(recipe) else {"stride": data.stride, "most": data.max_windows}
    return {"task": recipe.task, "multi_label": data.multi_label, **windows}
