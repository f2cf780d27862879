"""Where each class occurs: one that is scored must have been trained."""

from __future__ import annotations

from biodist.config.corpora import TEXT_TASKS
from biodist.config.recipe import CorpusEntry, Recipe
from biodist.data.samples import FileCounts
from biodist.errors import Problem


class ClassPlaces:
    """Classes by split and file, gathered while files are read.

    Only samples with one class are held to it: of several labels a rare one may well be in one split alone.
    """

    def __init__(self, recipe: Recipe):
        self._holds = recipe.task in TEXT_TASKS and not recipe.data.multi_label
        self._trained: set[str] = set()
        self._training_files: list[str] = []
        self._elsewhere: list[tuple[str, CorpusEntry, FileCounts]] = []

    def add(self, split: str, entry: CorpusEntry, counts: FileCounts) -> None:
        """Takes in what one file holds."""
        if split == "train":
            self._trained.update(counts.types)
            self._training_files.append(entry.path)
        else:
            self._elsewhere.append((split, entry, counts))

    def problems(self) -> list[Problem]:
        """One for each class of each file outside data.train that no training file has."""
        do = f"rename it with map, or train on files that have it; searched: {', '.join(self._training_files)}"
        return [
            Problem(
                f"{entry.path}:{line}",
                f"class {label} is in data.{split} (samples: {counts.types[label]:,}), but in no file of data.train",
                do,
            )
            for split, entry, counts in self._elsewhere
            for label, line in counts.first_lines.items()
            if self._holds and self._trained and label not in self._trained
        ]
