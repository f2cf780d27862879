"""Which sentences of the files become samples: those of training that are held out are not trained on, copies of
others are added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from biodist.config.recipe import CORPUS, CorpusEntry, Recipe
from biodist.data.augment import Augmentation, by_number, corpus_names
from biodist.data.leaks import DocumentNames, HeldOut
from biodist.data.names import read_names
from biodist.data.records import Record
from biodist.errors import UserError

TRAIN = "train"
Read = Callable[[CorpusEntry], Iterable[Record]]


class Selection:
    """What a recipe trains on. Validation and test have to be gone through before training is."""

    def __init__(self, recipe: Recipe, read: Read):
        """``read`` gives the sentences of a file, anew each time."""
        self._recipe, self._read = recipe, read
        self._held_out = HeldOut() if recipe.data.leaks == "drop" else None
        self._augmentation: Augmentation | None = None

    def of(self, entry: CorpusEntry, split: str, records: Iterable[Record]) -> Selected:
        """The samples of one file whose sentences are ``records``; reads the names for augmentation when it is due.

        Raises:
            UserError: the file of names is broken.
        """
        augmentation = None
        if split == TRAIN and self._recipe.data.augment is not None:
            augmentation = self._augmentation = self._augmentation or self._read_names()
        again = (lambda: self._read(entry)) if augmentation else None
        return Selected(records, split == TRAIN, self._held_out, augmentation, again)

    def _read_names(self) -> Augmentation:
        data = self._recipe.data
        assert data.augment is not None
        names = [
            corpus_names(self._training())
            if source == CORPUS
            else read_names(Path(source).expanduser(), data.labels, data.augment.map)
            for source in data.augment.sources
        ]
        return Augmentation(data.augment.share, data.augment.seed, tuple(map(by_number, names)))

    def _training(self) -> Iterator[Record]:
        """Every training sentence. Broken files are passed over: they are reported when they are read for samples."""
        for entry in self._recipe.data.train:
            try:
                yield from self._read(entry)
            except UserError:
                continue


class Selected:
    """Iterating over it gives one file's samples; the counts are known afterwards.

    ``leaked`` sentences of training are in validation or test and left out, with ``mentions`` by type; ``augmented``
    samples are copies.
    """

    def __init__(
        self,
        records: Iterable[Record],
        training: bool,
        held_out: HeldOut | None,
        augmentation: Augmentation | None = None,
        again: Callable[[], Iterable[Record]] | None = None,
    ):
        self._records, self._training, self._held_out = records, training, held_out
        self._augmentation, self._again = augmentation, again
        self.leaked = self.augmented = 0
        self.mentions: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Record]:
        self.leaked = self.augmented = 0
        self.mentions = Counter()
        yield from self._kept(self._records)
        if self._augmentation is None or self._again is None:
            return
        originals = Selected(self._again(), True, self._held_out)
        for copy in self._augmentation.copies(originals):
            if self._held_out is None or not self._held_out.has(copy, None):
                self.augmented += 1
                yield copy

    def _kept(self, records: Iterable[Record]) -> Iterator[Record]:
        documents = DocumentNames()
        for record in records:
            if self._held_out is None:
                yield record
                continue
            document = documents.key(record.document, record.corpus)
            if not self._training:
                self._held_out.add(record, document)
                yield record
            elif self._held_out.has(record, document):
                self.leaked += 1
                self.mentions.update(entity.type for entity in record.entities)
            else:
                yield record
