"""The Arrow store: what goes in comes out, whatever the record batches."""

import numpy as np
import pytest

from biodist.data import store as store_module
from biodist.data.store import SampleStore, StoreDamaged, StoreWriter
from biodist.data.windows import Window


def sample(generator, words):
    """A sample in one to three windows, its words dealt out in order."""
    windows = []
    for part in np.array_split(np.arange(words, dtype=np.int32), generator.integers(1, 4)):
        marked = np.concatenate(([-1], part, [-1])).astype(np.int32)
        labels = np.where(marked < 0, -100, marked % 3).astype(np.int16)
        second = int(generator.integers(0, len(marked) + 1))
        windows.append(Window(generator.integers(0, 9999, len(marked)).astype(np.int32), labels, marked, second))
    return [number % 3 for number in range(words)], windows


@pytest.fixture(params=[1, 3, 1000], ids=lambda size: f"batches of {size}")
def written(request, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "BATCH_SAMPLES", request.param)
    generator = np.random.default_rng(3)
    samples = [sample(generator, words) for words in (1, 5, 2, 9, 4, 1, 7)]
    with StoreWriter(tmp_path / "train.arrow") as writer:
        for number, (gold, windows) in enumerate(samples):
            writer.add("ncbi", number + 1, gold, windows)
    return tmp_path / "train.arrow", samples


def test_what_goes_in_comes_out(written):
    path, samples = written
    store = SampleStore(path)
    flat = [window for _, windows in samples for window in windows]
    assert (store.samples, store.windows) == (len(samples), len(flat))
    for number, window in enumerate(flat):
        read = store.window(number)
        for name in ("input_ids", "labels", "words"):
            assert np.array_equal(getattr(read, name), getattr(window, name))
            assert getattr(read, name).dtype == getattr(window, name).dtype
        assert read.second == store.seconds[number] == window.second
    for number, (gold, windows) in enumerate(samples):
        assert store.gold(number).tolist() == gold and store.words[number] == len(gold)
        assert store.sample_id(number) == f"ncbi:{number + 1}"
        first, after = store.first_window[number : number + 2]
        assert after - first == len(windows) and set(store.sample_of[first:after]) == {number}
    assert store.lengths.tolist() == [len(window.input_ids) for window in flat]
    assert store.targets.tolist() == [int((window.words >= 0).sum()) for window in flat]


def test_types_are_those_of_the_contract_and_nothing_can_be_written(written):
    store = SampleStore(written[0])
    assert store.first_window.dtype == np.int64 and store.first_window.shape == (store.samples + 1,)
    for name in ("sample_of", "lengths", "targets", "seconds", "words"):
        assert getattr(store, name).dtype == np.int32
    assert store.gold(0).dtype == np.int16
    window = store.window(0)
    for array in (window.input_ids, window.labels, window.words, store.lengths, store.first_window):
        assert not array.flags.writeable
    assert not window.input_ids.flags.owndata  # a view of the file


def test_a_split_without_samples(tmp_path):
    with StoreWriter(tmp_path / "empty.arrow"):
        pass
    store = SampleStore(tmp_path / "empty.arrow")
    assert (store.samples, store.windows, store.first_window.tolist()) == (0, 0, [0])


def test_a_file_cut_anywhere_is_noticed(written):
    path, _ = written
    whole = path.read_bytes()
    for size in (0, 1, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreDamaged):
            SampleStore(path)
    path.unlink()
    with pytest.raises(StoreDamaged):
        SampleStore(path)
