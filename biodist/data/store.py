"""The Arrow store: one IPC file a split, a row a sample, read through memory maps.

A row holds a sample's windows end to end, and how long each is. Tokens stay on disk until a window is asked for; only
counts and lengths are read into memory when a split is opened.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from biodist.data.windows import Window
from biodist.plan.index import DataIndex

BATCH_SAMPLES = 4096
BATCH_TOKENS = 1 << 20

SCHEMA = pa.schema(
    [
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),  # sample of its corpus, from 1
        pa.field("gold", pa.list_(pa.int16()), nullable=False),  # a label a word, or the classes of the sample
        pa.field("lengths", pa.list_(pa.int32()), nullable=False),  # tokens of each window
        pa.field("targets", pa.list_(pa.int32()), nullable=False),  # words owned by each window
        pa.field("seconds", pa.list_(pa.int32()), nullable=False),  # where each window's second text begins
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("labels", pa.list_(pa.int16()), nullable=False),
        pa.field("words", pa.list_(pa.int32()), nullable=False),
    ]
)


class StoreDamaged(Exception):
    """A store's file is missing, cut short, or not what its index says. Building the index again mends it."""


def split_file(store: Path, split: str) -> Path:
    """The file of one split."""
    return store / f"{split}.arrow"


class StoreWriter:
    """Writes one split, a record batch at a time: memory does not grow with the corpus."""

    def __init__(self, path: Path):
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, SCHEMA)
        self._clear()

    def _clear(self) -> None:
        self._corpora: list[str] = []
        self._ordinals: list[int] = []
        self._gold: list[Sequence[int]] = []
        self._windows: list[list[Window]] = []
        self._tokens = 0

    def add(self, corpus: str, ordinal: int, gold: Sequence[int], windows: list[Window]) -> None:
        """Appends one sample with its windows, in order."""
        self._corpora.append(corpus)
        self._ordinals.append(ordinal)
        self._gold.append(gold)
        self._windows.append(windows)
        self._tokens += sum(len(window.input_ids) for window in windows)
        if len(self._ordinals) >= BATCH_SAMPLES or self._tokens >= BATCH_TOKENS:
            self._flush()

    def _flush(self) -> None:
        if not self._ordinals:
            return
        flat = [window for windows in self._windows for window in windows]
        lengths = [[len(window.input_ids) for window in windows] for windows in self._windows]
        targets = [[int(np.count_nonzero(window.words >= 0)) for window in windows] for windows in self._windows]
        seconds = [[window.second for window in windows] for windows in self._windows]
        offsets = pa.array(np.cumsum([0, *(sum(sizes) for sizes in lengths)], dtype=np.int32))

        def joined(arrays: list[NDArray[np.int32]] | list[NDArray[np.int16]]) -> pa.ListArray:
            return pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(arrays)))

        columns = [
            pa.array(self._corpora, pa.string()),
            pa.array(self._ordinals, pa.int32()),
            pa.array(self._gold, SCHEMA.field("gold").type),
            pa.array(lengths, SCHEMA.field("lengths").type),
            pa.array(targets, SCHEMA.field("targets").type),
            pa.array(seconds, SCHEMA.field("seconds").type),
            joined([window.input_ids for window in flat]),
            joined([window.labels for window in flat]),
            joined([window.words for window in flat]),
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
        self._clear()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
                self._writer.close()
        finally:
            self._file.close()


class _Tokens(NamedTuple):
    """Views of one record batch: every window's tokens end to end, and every sample's gold labels."""

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int16]
    words: NDArray[np.int32]
    gold: NDArray[np.int16]
    gold_offsets: NDArray[np.int32]
    corpora: pa.Array
    ordinals: NDArray[np.int32]


class SampleStore:
    """One split, memory-mapped. Windows are numbered over the whole split, a sample's own next to each other.

    ``first_window[s]`` to ``first_window[s + 1]`` are the windows of sample s, ``sample_of`` leads back; ``lengths``
    are tokens, ``targets`` owned words and ``seconds`` the beginnings of second texts by window, ``words`` gold labels
    by sample. ``corpora`` are the samples of each corpus, in order. Of samples labelled as a whole ``targets`` is 1 in
    their first window, 0 in the others. Arrays are read-only.
    """

    def __init__(self, path: Path):
        try:
            self._map = pa.memory_map(str(path), "r")
            reader = pa.ipc.open_file(self._map)
            if reader.schema != SCHEMA:
                raise StoreDamaged(f"{path}: written with another schema")
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            for batch in batches:
                batch.validate(full=True)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreDamaged(f"{path}: {type(error).__name__}") from error
        self._chunks = [_chunk(batch) for batch in batches]
        counts = _stacked([_list_sizes(batch.column("lengths")) for batch in batches], np.int64)
        self.samples = len(counts)
        self.first_window: NDArray[np.int64] = np.concatenate(([0], np.cumsum(counts)))
        self.windows = int(self.first_window[-1])
        self.sample_of: NDArray[np.int32] = np.repeat(np.arange(self.samples, dtype=np.int32), counts)
        self.lengths: NDArray[np.int32] = _stacked([_values(batch.column("lengths")) for batch in batches], np.int32)
        self.targets: NDArray[np.int32] = _stacked([_values(batch.column("targets")) for batch in batches], np.int32)
        self.seconds: NDArray[np.int32] = _stacked([_values(batch.column("seconds")) for batch in batches], np.int32)
        self.words: NDArray[np.int32] = _stacked([_list_sizes(batch.column("gold")) for batch in batches], np.int32)
        self._first_sample = np.cumsum([0, *(batch.num_rows for batch in batches)])
        self.corpora = _corpora([batch.column("corpus") for batch in batches])
        # Tokens of a window are found by where it begins within its own record batch.
        ends = np.concatenate(([0], np.cumsum(self.lengths, dtype=np.int64)))
        first = self.first_window[self._first_sample]  # window of each batch, and the end
        self._chunk_of = np.repeat(np.arange(len(batches)), np.diff(first))
        self._begins = ends[:-1] - ends[first[:-1]][self._chunk_of]
        for array in (self.first_window, self.sample_of, self.lengths, self.targets, self.seconds, self.words):
            array.flags.writeable = False

    @classmethod
    def open(cls, index: DataIndex, split: str) -> SampleStore:
        """Maps one split of an index. Raises StoreDamaged where the file is not what the index counted."""
        store = cls(split_file(Path(index.store), split))
        counted = index.splits[split]
        found = (store.samples, store.windows, int(store.lengths.sum()), int(store.targets.sum()))
        if found != (counted.samples, counted.windows, counted.tokens, counted.targets):
            raise StoreDamaged(f"{split_file(Path(index.store), split)}: holds other counts than its index")
        return store

    def first(self, samples: int) -> SampleStore:
        """The split as if it ended after so many samples; all of it where there are no more."""
        part = copy.copy(self)
        part.samples = min(samples, self.samples)
        part.windows = int(self.first_window[part.samples])
        part.first_window = self.first_window[: part.samples + 1]
        part.sample_of, part.lengths, part.targets, part.seconds = (
            array[: part.windows] for array in (self.sample_of, self.lengths, self.targets, self.seconds)
        )
        part.words = self.words[: part.samples]
        part.corpora = {
            name: range(min(own.start, part.samples), min(own.stop, part.samples)) for name, own in self.corpora.items()
        }
        return part

    def window(self, number: int) -> Window:
        """One window; its arrays are read-only views of the file."""
        tokens = self._chunks[self._chunk_of[number]]
        here = slice(int(self._begins[number]), int(self._begins[number] + self.lengths[number]))
        return Window(tokens.input_ids[here], tokens.labels[here], tokens.words[here], int(self.seconds[number]))

    def gold(self, sample: int) -> NDArray[np.int16]:
        """The label of every word of a sample; its class, or its classes in order, where it is labelled as a whole."""
        tokens, row = self._row(sample)
        return tokens.gold[tokens.gold_offsets[row] : tokens.gold_offsets[row + 1]]

    def sample_id(self, sample: int) -> str:
        """``corpus:ordinal``: the sample's number in its corpus, from 1."""
        tokens, row = self._row(sample)
        return f"{tokens.corpora[row].as_py()}:{tokens.ordinals[row]}"

    def _row(self, sample: int) -> tuple[_Tokens, int]:
        chunk = int(np.searchsorted(self._first_sample, sample, side="right")) - 1
        return self._chunks[chunk], sample - int(self._first_sample[chunk])


def _chunk(batch: pa.RecordBatch) -> _Tokens:
    ids, labels, words = (_values(batch.column(name)) for name in ("input_ids", "labels", "words"))
    gold = batch.column("gold")
    offsets = gold.offsets.to_numpy(zero_copy_only=True)
    ordinals = batch.column("ordinal").to_numpy(zero_copy_only=True)
    return _Tokens(ids, labels, words, _values(gold), offsets, batch.column("corpus"), ordinals)


def _corpora(columns: list[pa.Array]) -> dict[str, range]:
    """The samples of each corpus: a file's samples are written next to each other."""
    counts: dict[str, int] = {}
    for column in columns:
        for each in pc.value_counts(column):
            counts[each["values"].as_py()] = counts.get(each["values"].as_py(), 0) + each["counts"].as_py()
    ends = np.cumsum([0, *counts.values()]).tolist()
    return {name: range(first, end) for name, first, end in zip(counts, ends, ends[1:], strict=False)}


def _values(column: pa.ListArray) -> NDArray[Any]:
    values: NDArray[Any] = column.values.to_numpy(zero_copy_only=True)
    return values


def _list_sizes(column: pa.ListArray) -> NDArray[np.int32]:
    sizes: NDArray[np.int32] = np.diff(column.offsets.to_numpy(zero_copy_only=True))
    return sizes


def _stacked(arrays: list[NDArray[np.int32]], dtype: type[np.int32] | type[np.int64]) -> NDArray[Any]:
    """One array of a column in all batches; of none, where a split has no batch."""
    return np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype, copy=False)
