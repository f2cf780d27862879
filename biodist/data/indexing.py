"""From a recipe's corpora to its data index: read, checked, tokenised and counted once, then reused.

The index lives in ``CACHE/<fingerprint>/``: ``index.json``, one Arrow file a split, ``digests.json`` and
``tokenizer/``. It is built under a hidden name and renamed when whole: a folder of the fingerprint's name is complete.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from biodist.config.recipe import CorpusEntry, Recipe
from biodist.data.cache import CacheSlot
from biodist.data.fingerprint import data_fingerprint, file_digest, source, split_entries
from biodist.data.iob import Reading
from biodist.data.records import Record
from biodist.data.store import SampleStore, StoreDamaged, StoreWriter, split_file
from biodist.data.tags import iob2_labels
from biodist.data.tokenizer import load_tokenizer, tokenizer_digest, train_wordpiece, write_tokenizer
from biodist.data.windows import WordPieces, make_windows
from biodist.errors import MachineCannot, Problem, UserError
from biodist.plan.index import DataIndex, SplitIndex

Progress = Callable[[str, int], None]  # split, samples done

INDEX, DIGESTS, TOKENIZER = "index.json", "digests.json", "tokenizer"
CHUNK_RECORDS = 2048


def build_index(recipe: Recipe, model_folder: Path | None, cache: Path, progress: Progress | None = None) -> DataIndex:
    """The data index of a recipe; taken from ``cache`` where it is there and whole, built there otherwise.

    ``model_folder`` is the encoder's local folder, None under ``init: scratch`` (the tokenizer is then trained on the
    training files). Two processes that ask for one index build it once. Raises UserError with every problem of every
    file, and MachineCannot where the cache cannot be written.
    """
    tokenizer = load_tokenizer(model_folder) if model_folder else None
    digest = tokenizer_digest(tokenizer) if tokenizer else None
    slot = CacheSlot(cache, data_fingerprint(recipe, digest), private=recipe.data.sensitive)
    try:
        ready = _reusable(slot.folder)
        if ready is not None:
            slot.protect()
            return ready
        with slot.locked():
            ready = _reusable(slot.folder)  # another process may have built it meanwhile
            if ready is not None:
                slot.protect()
                return ready
            with slot.staging() as staging:
                _Build(recipe, model_folder, tokenizer, staging, progress).write(slot)
        built = _reusable(slot.folder)
    except OSError as error:
        raise MachineCannot(
            f"cannot write the data index in {cache}: {error.strerror or type(error).__name__}"
        ) from error
    if built is None:
        raise MachineCannot(f"the data index in {slot.folder} does not read back as it was written; check the disk")
    return built


def index_notices(index: DataIndex) -> tuple[str, ...]:
    """What a person should know of an index, though nothing is wrong: labels that never occur, mended sequences."""
    notices = []
    for split, counted in index.splits.items():
        absent = [kind for kind, mentions in counted.types.items() if not mentions]
        if absent:
            notices.append(f"data.labels: {', '.join(absent)} never occurs in {split}")
        if counted.repaired:
            notices.append(f"data.repair: {counted.repaired:,} broken tag sequences mended in {split}")
    return tuple(notices)


class _Build:
    """One index being built in a staging folder."""

    def __init__(
        self,
        recipe: Recipe,
        model_folder: Path | None,
        tokenizer: Tokenizer | None,
        staging: Path,
        progress: Progress | None,
    ):
        self._recipe, self._model_folder, self._staging = recipe, model_folder, staging
        self._progress = progress or (lambda split, samples: None)
        self._labels = iob2_labels(recipe.data.labels)
        self._label_ids = {label: number for number, label in enumerate(self._labels)}
        self._problems: list[Problem] = []
        self._tokenizer = tokenizer or self._trained_tokenizer()
        self._pieces = WordPieces(self._tokenizer)

    def write(self, slot: CacheSlot) -> None:
        """Writes all files, the index last, and publishes them. Raises UserError with every problem of every file."""
        room = self._recipe.data.max_length - len(self._pieces.prefix) - len(self._pieces.suffix)
        if room < 1:
            raise UserError(Problem("data.max_length", "leaves no room beside the special tokens", "raise it"))
        splits = {split: self._split(split, entries) for split, entries in split_entries(self._recipe).items()}
        if self._problems:
            raise UserError(self._problems)
        write_tokenizer(self._tokenizer, self._staging / TOKENIZER, self._model_folder)
        index = DataIndex(
            fingerprint=slot.fingerprint,
            store=str(slot.folder),
            tokenizer=str(slot.folder / TOKENIZER),
            labels=self._labels,
            vocab_size=self._tokenizer.get_vocab_size(with_added_tokens=True),
            splits=splits,
        )
        (self._staging / INDEX).write_text(index.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (self._staging / DIGESTS).write_text(json.dumps(_digests(self._staging), indent=2) + "\n", encoding="utf-8")
        slot.publish(self._staging)

    def _trained_tokenizer(self) -> Tokenizer:
        scratch = self._recipe.model.scratch
        return train_wordpiece(self._training_words(), scratch.vocab_size, scratch.lower_case)

    def _training_words(self) -> Iterator[str]:
        for entry in self._recipe.data.train:
            try:
                for record in Reading(source(self._recipe, entry)):
                    yield from record.tokens
            except UserError:
                continue  # reported when the file is read for its samples

    def _split(self, split: str, entries: Sequence[CorpusEntry]) -> SplitIndex:
        mentions: Counter[str] = Counter(dict.fromkeys(self._recipe.data.labels, 0))
        ordinals: Counter[str] = Counter()
        repaired = 0
        with StoreWriter(split_file(self._staging, split)) as writer:
            for entry in entries:
                reading = Reading(source(self._recipe, entry))
                try:
                    self._encode(split, iter(reading), writer, ordinals)
                except UserError as error:
                    self._problems.extend(error.problems)
                mentions.update(reading.report.mentions)
                repaired += reading.report.repaired
        stored = SampleStore(split_file(self._staging, split))
        return SplitIndex(
            samples=stored.samples,
            windows=stored.windows,
            tokens=int(stored.lengths.sum()),
            targets=int(stored.targets.sum()),
            lengths=dict(sorted(Counter(stored.lengths.tolist()).items())),
            types=dict(mentions),
            repaired=repaired,
        )

    def _encode(self, split: str, records: Iterator[Record], writer: StoreWriter, ordinals: Counter[str]) -> None:
        """Windows of every record into the store; once a problem is known, files are only read to find the others."""
        data = self._recipe.data
        while chunk := list(islice(records, CHUNK_RECORDS)):
            if self._problems:
                continue
            self._pieces.learn(word for record in chunk for word in record.tokens)
            for record in chunk:
                ordinals[record.corpus] += 1
                gold = gold_labels(record, self._label_ids)
                windows = make_windows(record.tokens, gold, self._pieces, data.max_length, data.stride)
                writer.add(record.corpus, ordinals[record.corpus], gold, windows)
            self._progress(split, ordinals.total())


def gold_labels(record: Record, label_ids: dict[str, int]) -> list[int]:
    """The IOB2 label number of each word of a record."""
    labels = [label_ids["O"]] * len(record.tokens)
    for entity in record.entities:
        labels[entity.start] = label_ids[f"B-{entity.type}"]
        for word in range(entity.start + 1, entity.end):
            labels[word] = label_ids[f"I-{entity.type}"]
    return labels


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below an index's folder, that of the digests apart."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / DIGESTS)
    return {str(path.relative_to(folder)): file_digest(path) for path in files}


def _reusable(folder: Path) -> DataIndex | None:
    """The index of a folder if it is whole: every file has its digest, and every split the counts of the index."""
    try:
        if _digests(folder) != json.loads((folder / DIGESTS).read_text(encoding="utf-8")):
            return None
        index = DataIndex.model_validate_json((folder / INDEX).read_text(encoding="utf-8"))
        here = index.model_copy(update={"store": str(folder), "tokenizer": str(folder / TOKENIZER)})
        for split in here.splits:
            SampleStore.open(here, split)
    except (OSError, ValueError, StoreDamaged):
        return None
    return here
