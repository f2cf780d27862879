"""The training corpora of a recipe merged into one tagged file, as they would be trained on."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from biodist.config.corpora import TEXT_TASKS, annotated_types
from biodist.config.recipe import CorpusEntry, Recipe
from biodist.data.formats.tagged import tags_of
from biodist.data.formats.writing import FileWriter
from biodist.data.records import Record
from biodist.data.samples import word_reading
from biodist.data.selection import TRAIN, Selection
from biodist.errors import MachineCannot, Problem, UserError


@dataclass(frozen=True)
class MergedCorpus:
    """What one corpus gave: ``mentions`` by type; ``leaked`` sentences were left out, ``augmented`` are copies."""

    name: str
    annotates: tuple[str, ...]
    sentences: int
    tokens: int
    mentions: dict[str, int]
    leaked: int
    augmented: int


@dataclass(frozen=True)
class Merged:
    """A merged file."""

    path: Path
    corpora: tuple[MergedCorpus, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {"path": str(self.path), "corpora": [asdict(corpus) for corpus in self.corpora]}


def merge_corpora(recipe: Recipe, to: Path) -> Merged:
    """Writes every training sentence of the recipe, its types renamed, leaks left out, copies added (`data.leaks`,
    `data.augment`): whole or not at all, its owner's alone under `data.sensitive`. Memory does not grow with the
    corpora.

    Raises:
        UserError: the task has no mentions, ``to`` is there already, or a corpus is broken; every problem.
        MachineCannot: ``to`` cannot be written.
    """
    if recipe.task in TEXT_TASKS:
        raise UserError(Problem("task", f"{recipe.task} has no mentions to merge", "name a recipe of task ner"))
    if to.exists():
        raise UserError(Problem(f"--out {to}", "is there already", "name another file, or remove it"))
    selection = Selection(recipe, lambda entry: word_reading(recipe, entry))
    problems = _hold_out(recipe, selection)
    try:
        with _MergedWriter(to, private=recipe.data.sensitive) as writer:
            corpora = [_written(recipe, entry, selection, writer, problems) for entry in recipe.data.train]
            if problems:
                raise UserError(problems)
    except OSError as error:
        raise MachineCannot(f"cannot write {to}: {error.strerror or type(error).__name__}") from error
    return Merged(to, tuple(corpora))


class _MergedWriter(FileWriter):
    """A tagged file with two more columns: the corpus, and the types that it annotates."""

    def __init__(self, path: Path, private: bool):
        super().__init__(path)
        if private:
            self._beside.chmod(0o600)  # nothing is written yet

    def write(self, record: Record, annotates: tuple[str, ...]) -> None:
        """A sentence's lines and the blank one behind them."""
        between = f"\t{record.corpus}\t{','.join(annotates)}\t"
        tags = tags_of(record.entities, len(record.tokens))
        lines = [f"{token}{between}{tag}\n" for token, tag in zip(record.tokens, tags, strict=True)]
        self._file.write(("".join(lines) + "\n").encode("utf-8"))


def _hold_out(recipe: Recipe, selection: Selection) -> list[Problem]:
    """Goes through validation and test; the problems of their files."""
    problems: list[Problem] = []
    if recipe.data.leaks == "keep":
        return problems
    for split in ("validation", "test"):
        for entry in getattr(recipe.data, split):
            try:
                for _ in selection.of(entry, split, word_reading(recipe, entry)):
                    pass
            except UserError as error:
                problems += error.problems
    return problems


def _written(
    recipe: Recipe, entry: CorpusEntry, selection: Selection, writer: _MergedWriter, problems: list[Problem]
) -> MergedCorpus:
    annotates = annotated_types(entry, recipe.data)
    sentences = tokens = 0
    mentions: Counter[str] = Counter(dict.fromkeys(annotates, 0))
    selected = selection.of(entry, TRAIN, word_reading(recipe, entry))
    try:
        for record in selected:
            writer.write(record, annotates)
            sentences += 1
            tokens += len(record.tokens)
            mentions.update(entity.type for entity in record.entities)
    except UserError as error:
        problems += error.problems
    counts = (sentences, tokens, dict(mentions), selected.leaked, selected.augmented)
    return MergedCorpus(entry.corpus, annotates, *counts)
