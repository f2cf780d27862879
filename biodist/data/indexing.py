"""From a recipe's corpora to its data index: read, checked, tokenised and counted once, then reused.

The index lives in ``CACHE/<fingerprint>-<layout>/``: ``index.json``, one Arrow file a split, ``digests.json`` and
``tokenizer/``. It is built under a hidden name and renamed when whole: a folder of that name is complete.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from biodist.config.corpora import TEXT_TASKS, views_of
from biodist.config.recipe import CorpusEntry, Recipe
from biodist.data.cache import CacheSlot
from biodist.data.class_places import ClassPlaces
from biodist.data.fingerprint import data_fingerprint, file_digest, split_entries
from biodist.data.samples import FileSamples, samples_of, training_texts
from biodist.data.selection import TRAIN
from biodist.data.store import SampleStore, StoreDamaged, StoreWriter, split_file
from biodist.data.tokenizer import load_tokenizer, tokenizer_digest, train_wordpiece, write_tokenizer
from biodist.errors import MachineCannot, Problem, UserError
from biodist.plan.index import DataIndex, SplitIndex

Progress = Callable[[str, int], None]  # split, samples done

# By file, added up for a split.
COUNTED = ("repaired", "dropped", "undeclared", "leaked", "augmented", "overlapping", "discontinuous", "wordless")
LAYOUT = 3  # of what is stored: a change here makes every index anew, and leaves the order of samples as it is
INDEX, DIGESTS, TOKENIZER = "index.json", "digests.json", "tokenizer"


def build_index(recipe: Recipe, model_folder: Path | None, cache: Path, progress: Progress | None = None) -> DataIndex:
    """The data index of a recipe; taken from ``cache`` where it is there and whole, built there otherwise.

    ``model_folder`` is the encoder's local folder, None under ``init: scratch`` (the tokenizer is then trained on the
    training files). Two processes that ask for one index build it once. Raises UserError with every problem of every
    file, and MachineCannot where the cache cannot be written.
    """
    tokenizer = load_tokenizer(model_folder, split_words=recipe.task not in TEXT_TASKS) if model_folder else None
    digest = tokenizer_digest(tokenizer) if tokenizer else None
    fingerprint = data_fingerprint(recipe, digest)
    slot = CacheSlot(cache, f"{fingerprint}-{LAYOUT}", private=recipe.data.sensitive)
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
                _Build(recipe, model_folder, tokenizer, staging, progress).write(slot, fingerprint)
        built = _reusable(slot.folder)
    except OSError as error:
        raise MachineCannot(
            f"cannot write the data index in {cache}: {error.strerror or type(error).__name__}"
        ) from error
    if built is None:
        raise MachineCannot(f"the data index in {slot.folder} does not read back as it was written; check the disk")
    return built


def index_notices(index: DataIndex, merge: str = "marginal") -> tuple[str, ...]:
    """What a person should know of an index, though nothing is wrong: absent labels, what was mended, cut or left out,
    and a scheme of merging (`data.merge`) that takes what a corpus does not annotate for absent."""
    notices = []
    if merge == "naive" and len(index.views) > 1:
        what = f"the corpora annotate {len(index.views)} different sets of types, and naive takes the others for absent"
        notices.append(f"data.merge: {what}; marginal does not")
    for split, counted in index.splits.items():
        absent = [kind for kind, mentions in counted.types.items() if not mentions]
        if absent:
            notices.append(f"data.labels: {', '.join(absent)} never occurs in {split}")
        if counted.repaired:
            notices.append(f"data.repair: {counted.repaired:,} broken tag sequences mended in {split}")
        if counted.truncated:
            share = 100 * counted.truncated / counted.samples
            notices.append(f"data.max_length: {counted.truncated:,} samples of {split} ({share:.1f} %) cut")
        if counted.dropped:
            notices.append(f"data.{split}: {counted.dropped:,} pairs without a majority label dropped")
        if counted.undeclared:
            notices.append(f"data.{split}: {counted.undeclared:,} MeSH terms outside data.labels passed over")
        if counted.overlapping:
            what = f"{counted.overlapping:,} mentions of {split} that overlap a longer one left out"
            notices.append(f"data.overlaps: {what}")
        if counted.discontinuous:
            what = f"{counted.discontinuous:,} mentions of {split} with gaps stretched over them, or left out"
            notices.append(f"data.discontinuous: {what}")
        if counted.wordless:
            notices.append(f"data.{split}: {counted.wordless:,} mentions without a letter, digit or sign left out")
        if counted.leaked:
            what = f"{counted.leaked:,} sentences of {split} are in validation or test too, and are not trained on"
            notices.append(f"data.leaks: {what}")
        if counted.augmented:
            notices.append(f"data.augment: {counted.augmented:,} copies with exchanged mentions added to {split}")
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
        self._problems: defaultdict[str, list[Problem]] = defaultdict(list)  # by split
        self._tokenizer = tokenizer or self._trained_tokenizer()
        self._samples = samples_of(recipe, self._tokenizer)
        self._classes = ClassPlaces(recipe)

    def write(self, slot: CacheSlot, fingerprint: str) -> None:
        """Writes all files, the index last, and publishes them. Raises UserError with every problem of every file."""
        corpora = split_entries(self._recipe)
        held_out_first = sorted(corpora, key=lambda split: split == TRAIN)
        found = {split: self._split(split, corpora[split]) for split in held_out_first}
        problems = [problem for split in corpora for problem in self._problems[split]] + self._classes.problems()
        if problems:
            raise UserError(problems)
        splits = {split: found[split] for split in corpora}
        if not splits[TRAIN].samples:
            what = "every sentence is in data.validation or data.test as well, and left out (data.leaks)"
            raise UserError(Problem("data.train", what, "train on other files, or set data.leaks=keep"))
        write_tokenizer(self._tokenizer, self._staging / TOKENIZER, self._model_folder)
        index = DataIndex(
            fingerprint=fingerprint,
            store=str(slot.folder),
            tokenizer=str(slot.folder / TOKENIZER),
            labels=self._samples.labels,
            vocab_size=self._tokenizer.get_vocab_size(with_added_tokens=True),
            views=views_of(self._recipe),
            splits=splits,
        )
        (self._staging / INDEX).write_text(index.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (self._staging / DIGESTS).write_text(json.dumps(_digests(self._staging), indent=2) + "\n", encoding="utf-8")
        slot.publish(self._staging)

    def _trained_tokenizer(self) -> Tokenizer:
        scratch = self._recipe.model.scratch
        return train_wordpiece(training_texts(self._recipe), scratch.vocab_size, scratch.lower_case)

    def _split(self, split: str, entries: Sequence[CorpusEntry]) -> SplitIndex:
        types: Counter[str] = Counter(dict.fromkeys(self._recipe.data.labels, 0))
        ordinals: Counter[str] = Counter()
        totals: Counter[str] = Counter()
        truncated = 0
        with StoreWriter(split_file(self._staging, split)) as writer:
            for entry in entries:
                file = self._samples.file(entry, split)
                truncated += self._encode(split, file, writer, ordinals)
                counts = file.counts
                self._classes.add(split, entry, counts)
                types.update(counts.types)
                totals.update({name: getattr(counts, name) for name in COUNTED})
        stored = SampleStore(split_file(self._staging, split))
        return SplitIndex(
            samples=stored.samples,
            windows=stored.windows,
            tokens=int(stored.lengths.sum()),
            targets=int(stored.targets.sum()),
            lengths=dict(sorted(Counter(stored.lengths.tolist()).items())),
            types=dict(types),
            truncated=truncated,
            **totals,
        )

    def _encode(self, split: str, file: FileSamples, writer: StoreWriter, ordinals: Counter[str]) -> int:
        """Windows of every sample into the store; how many samples were cut. A file's problems are kept for the end."""
        truncated = 0
        try:
            for chunk in file:
                for sample in chunk:
                    ordinals[sample.corpus] += 1
                    writer.add(sample.corpus, ordinals[sample.corpus], sample.gold, sample.windows)
                    truncated += sample.truncated
                self._progress(split, ordinals.total())
        except UserError as error:
            self._problems[split].extend(error.problems)
        return truncated


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
