"""What the samples of each task are: how their files are read, tokenised and cut into windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tokenizers import Tokenizer

from biodist.config.corpora import TEXT_TASKS, has_pairs, views_of
from biodist.config.recipe import CorpusEntry, Recipe
from biodist.data.fingerprint import text_source, word_source
from biodist.data.formats.source import DocumentSource
from biodist.data.iob import Reading
from biodist.data.records import Record, TextRecord
from biodist.data.selection import TRAIN, Selection
from biodist.data.sentence_reading import SentenceReading
from biodist.data.tags import iob2_labels
from biodist.data.text_file import FileProblems
from biodist.data.text_windows import NothingLeft, TextFrame
from biodist.data.texts import TextReading
from biodist.data.views import marker_words, passes_of
from biodist.data.windows import Window, WordPieces
from biodist.errors import Problem, UserError

CHUNK_RECORDS = 2048
CHUNK_CHARACTERS = 1 << 21  # of texts: a long document's tokens take some hundred bytes each while it is cut


@dataclass(frozen=True)
class Sample:
    """One sample as the store takes it."""

    corpus: str
    gold: Sequence[int]
    windows: list[Window]
    truncated: bool = False


@dataclass(frozen=True)
class FileCounts:
    """What the index says of one file."""

    types: dict[str, int]
    first_lines: dict[str, int] = field(default_factory=dict)  # of each class
    repaired: int = 0
    dropped: int = 0
    undeclared: int = 0
    leaked: int = 0
    augmented: int = 0
    overlapping: int = 0
    discontinuous: int = 0
    wordless: int = 0


class FileSamples(Protocol):
    """One file of a recipe: iterating over it gives its samples, in chunks; ``counts`` are known afterwards.

    The iteration raises UserError at its end, with every problem of the file.
    """

    def __iter__(self) -> Iterator[list[Sample]]: ...

    @property
    def counts(self) -> FileCounts: ...


class Samples(Protocol):
    """The samples of a recipe. ``labels`` are what the classifier's outputs mean, in order.

    The files of validation and test are gone through before those of training are: what they hold may be left out
    there.
    """

    labels: tuple[str, ...]

    def file(self, entry: CorpusEntry, split: str) -> FileSamples: ...


def samples_of(recipe: Recipe, tokenizer: Tokenizer) -> Samples:
    """How the samples of a recipe's task are made. Raises UserError where no window has room for a token."""
    return TextSamples(recipe, tokenizer) if recipe.task in TEXT_TASKS else WordSamples(recipe, tokenizer)


def training_texts(recipe: Recipe) -> Iterator[str]:
    """The words of the training files, for a vocabulary made from them, and those of markers (`data.merge: tagged`).

    Broken files are passed over.
    """
    if recipe.data.merge == "tagged" and len(views_of(recipe)) > 1:
        yield from marker_words(recipe.data.labels)
    for entry in recipe.data.train:
        try:
            if recipe.task in TEXT_TASKS:
                for text_record in TextReading(text_source(recipe, entry)):
                    for text in text_record.texts:
                        yield from text.split()
            else:
                for record in word_reading(recipe, entry):
                    yield from record.tokens
        except UserError:
            continue  # reported when the file is read for its samples


WordReading = Reading | SentenceReading


def word_reading(recipe: Recipe, entry: CorpusEntry) -> WordReading:
    """The sentences of a file of the recipe, whatever marks its mentions: tags, or characters."""
    source = word_source(recipe, entry)
    return SentenceReading(source) if isinstance(source, DocumentSource) else Reading(source)


class WordSamples:
    """Sentences in which each word has a label."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer):
        self.recipe = recipe
        self.labels = iob2_labels(recipe.data.labels)
        self.label_ids = {label: number for number, label in enumerate(self.labels)}
        self.pieces = WordPieces(tokenizer)
        if recipe.data.max_length - len(self.pieces.prefix) - len(self.pieces.suffix) < 1:
            raise UserError(Problem("data.max_length", "leaves no room beside the special tokens", "raise it"))
        self.views = views_of(recipe)
        self.selection = Selection(recipe, self.reading)

    def reading(self, entry: CorpusEntry) -> WordReading:
        """The sentences of a file."""
        return word_reading(self.recipe, entry)

    def file(self, entry: CorpusEntry, split: str) -> FileSamples:
        return _WordFile(self, entry, split)


class _WordFile:
    def __init__(self, samples: WordSamples, entry: CorpusEntry, split: str):
        self._samples = samples
        self._reading = samples.reading(entry)
        self._selected = samples.selection.of(entry, split, self._reading)
        self._passes = passes_of(entry, samples.recipe.data, samples.views, samples.pieces, split == TRAIN)

    @property
    def counts(self) -> FileCounts:
        report, selected = self._reading.report, self._selected
        types = {kind: count - selected.mentions[kind] for kind, count in report.mentions.items()}
        layer = self._reading.layer
        return FileCounts(
            types,
            repaired=report.repaired,
            leaked=selected.leaked,
            augmented=selected.augmented,
            overlapping=layer.overlapping,
            discontinuous=layer.discontinuous,
            wordless=layer.wordless,
        )

    def __iter__(self) -> Iterator[list[Sample]]:
        chunk: list[Record] = []
        for record in self._selected:
            chunk.append(record)
            if len(chunk) == CHUNK_RECORDS:
                yield self._made(chunk)
                chunk = []
        yield self._made(chunk)

    def _made(self, records: list[Record]) -> list[Sample]:
        pieces, data = self._samples.pieces, self._samples.recipe.data
        pieces.learn(word for record in records for word in record.tokens)
        made = []
        for record in records:
            gold = gold_labels(record, self._samples.label_ids)
            windows = [each for one in self._passes for each in one.windows(record.tokens, gold, pieces, data)]
            made.append(Sample(record.corpus, gold, windows))
        return made


def gold_labels(record: Record, label_ids: dict[str, int]) -> list[int]:
    """The IOB2 label number of each word of a record."""
    labels = [label_ids["O"]] * len(record.tokens)
    for entity in record.entities:
        labels[entity.start] = label_ids[f"B-{entity.type}"]
        for word in range(entity.start + 1, entity.end):
            labels[word] = label_ids[f"I-{entity.type}"]
    return labels


class TextSamples:
    """Texts and pairs of texts with a class, or with several."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer):
        data = recipe.data
        self.recipe, self.labels = recipe, data.labels
        self.label_ids = {label: number for number, label in enumerate(data.labels)}
        self.are_pairs = has_pairs(recipe)
        stride = 0 if self.are_pairs else data.stride
        self.frame = TextFrame(tokenizer, data.max_length, stride, data.max_windows, data.truncate)

    def file(self, entry: CorpusEntry, split: str) -> FileSamples:
        return _TextFile(self, entry)


class _TextFile:
    def __init__(self, samples: TextSamples, entry: CorpusEntry):
        self._samples = samples
        self._source = text_source(samples.recipe, entry)
        self._reading = TextReading(self._source)
        self._uncut = FileProblems(self._source.path)

    @property
    def counts(self) -> FileCounts:
        report = self._reading.report
        return FileCounts(report.classes, report.first_lines, dropped=report.dropped, undeclared=report.undeclared)

    def __iter__(self) -> Iterator[list[Sample]]:
        problems: list[Problem] = []
        for chunk in self._chunks(problems):
            yield self._made(chunk)
        try:
            self._uncut.raise_any()
        except UserError as error:
            problems += error.problems
        if problems:
            raise UserError(problems)

    def _chunks(self, problems: list[Problem]) -> Iterator[list[TextRecord]]:
        """The file's records in parts; what is wrong with the others goes into ``problems``."""
        chunk: list[TextRecord] = []
        characters = 0
        try:
            for record in self._reading:
                chunk.append(record)
                characters += sum(map(len, record.texts))
                if len(chunk) == CHUNK_RECORDS or characters >= CHUNK_CHARACTERS:
                    yield chunk
                    chunk, characters = [], 0
        except UserError as error:
            problems += error.problems
        yield chunk

    def _made(self, records: list[TextRecord]) -> list[Sample]:
        frame, ids = self._samples.frame, self._samples.label_ids
        if self._samples.are_pairs:
            framed = frame.pairs([(record.texts[0], record.texts[1]) for record in records])
        else:
            framed = frame.texts([record.texts[0] for record in records])
        made = []
        for record, each in zip(records, framed, strict=True):
            if isinstance(each, NothingLeft):
                side = self._samples.recipe.data.truncate
                what = f"the pair is too long, and cutting its {side} text (data.truncate) leaves nothing of it"
                self._uncut.note(record.line, what, "set data.truncate=longest, or raise data.max_length")
                continue
            gold = sorted(ids[label] for label in record.labels)
            made.append(Sample(record.corpus, gold, each.windows, each.truncated))
        return made
