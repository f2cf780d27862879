"""From a recipe's corpora to a data index: built once, reused, rebuilt when damaged, refused with every problem."""

import fcntl
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from biodist.config.recipe import Recipe
from biodist.data.indexing import build_index, index_notices
from biodist.data.store import SampleStore
from biodist.data.tokenizer import train_wordpiece, write_tokenizer
from biodist.errors import MachineCannot, UserError

TRAIN = "Mutated\tO\nAPC\tO\ncolon\tB-Disease\ncancer\tI-Disease\n\ncolon\tO\nof\tO\nmice\tO\n\n"
TEST = "APC\tO\ncancer\tB-Disease\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.tsv").write_text(TRAIN * 4, encoding="utf-8")
    (tmp_path / "test.tsv").write_text(TEST, encoding="utf-8")
    return tmp_path


def recipe(folder: Path, scratch: dict | None = None, **data) -> Recipe:
    files = {split: [{"path": str(folder / f"{split}.tsv")}] for split in ("train", "test")}
    section = {"labels": ["Disease"], "max_length": 16, "stride": 2, **files, **data}
    model = {"init": "scratch", "scratch": {"vocab_size": 80, **(scratch or {})}}
    return Recipe.model_validate({"name": "x", "task": "ner", "model": model, "data": section, "train": {"epochs": 1}})


def build(folder: Path, **options):
    return build_index(recipe(folder, **options), None, folder / "cache")


def test_counts_labels_and_samples(folder):
    index = build(folder)
    assert index.labels == ("O", "B-Disease", "I-Disease") and index.vocab_size <= 80
    train, test = index.splits["train"], index.splits["test"]
    assert (train.samples, train.targets, train.types) == (8, 28, {"Disease": 4})
    assert (test.samples, test.targets, test.types) == (1, 2, {"Disease": 1})
    assert sum(length * count for length, count in train.lengths.items()) == train.tokens
    assert train.longest <= 16 and sum(train.lengths.values()) == train.windows
    store = SampleStore.open(index, "train")
    assert (
        store.gold(0).tolist() == [0, 0, 1, 2] and store.sample_id(0) == "train:1" and store.sample_id(7) == "train:8"
    )
    predicted = np.concatenate([store.window(number).words for number in range(store.first_window[1])])
    assert sorted(predicted[predicted >= 0].tolist()) == [0, 1, 2, 3]


def test_a_whole_index_is_reused_untouched(folder):
    first = build(folder)
    times = {path: path.stat().st_mtime_ns for path in Path(first.store).rglob("*")}
    assert build(folder) == first
    assert {path: path.stat().st_mtime_ns for path in Path(first.store).rglob("*")} == times


def test_a_moved_cache_is_still_good(folder):
    first = build(folder)
    shutil.move(folder / "cache", folder / "elsewhere")
    moved = build_index(recipe(folder), None, folder / "elsewhere")
    assert moved.fingerprint == first.fingerprint and moved.store.startswith(str(folder / "elsewhere"))
    assert SampleStore.open(moved, "train").samples == 8


@pytest.mark.parametrize(
    "name", ["train.arrow", "test.arrow", "index.json", "digests.json", "tokenizer/tokenizer.json"]
)
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_index_is_built_again(folder, name, harm):
    first = build(folder)
    path = Path(first.store) / name
    whole = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes(whole[:middle] if harm == "cut" else flipped)
    assert build(folder) == first
    assert path.read_bytes() == whole


def test_the_fingerprint_follows_content_not_place(folder):
    there = folder / "there"
    there.mkdir()
    for name in ("train.tsv", "test.tsv"):
        shutil.copy(folder / name, there / name)
    base = build(folder).fingerprint
    assert build(there).fingerprint == base
    changed = [
        {"max_length": 17},
        {"stride": 3},
        {"repair": True},
        {"labels": ["Disease", "Gene"]},
        {"scratch": {"vocab_size": 81}},
        {"scratch": {"lower_case": True}},
        {"test": []},
    ]
    prints = {build(folder, **change).fingerprint for change in changed}
    (folder / "test.tsv").write_text(TEST + "\n", encoding="utf-8")
    assert len({base, build(folder).fingerprint, *prints}) == len(changed) + 2


def test_every_problem_of_every_file_at_once(folder):
    (folder / "train.tsv").write_text("a\tO\nb\tI-Disease\n\nc\tB-Gene\n", encoding="utf-8")
    (folder / "test.tsv").write_bytes(b"\0")
    with pytest.raises(UserError) as caught:
        build(folder)
    places = [problem.where.rsplit("/", 1)[1] for problem in caught.value.problems]
    assert places == ["train.tsv:2", "train.tsv:4", "test.tsv:1"]
    assert [path.name for path in (folder / "cache").iterdir() if not path.name.endswith(".lock")] == []


def test_missing_files_are_all_named(folder):
    (folder / "train.tsv").unlink()
    (folder / "test.tsv").unlink()
    with pytest.raises(UserError) as caught:
        build(folder)
    assert len(caught.value.problems) == 2 and not (folder / "cache").exists()


def test_mended_sequences_and_absent_labels_are_said(folder):
    (folder / "test.tsv").write_text("a\tI-Disease\n", encoding="utf-8")
    index = build(folder, repair=True, labels=["Disease", "Gene"])
    assert index.splits["test"].repaired == 1 and index.splits["test"].types == {"Disease": 1, "Gene": 0}
    assert index_notices(index) == (
        "data.labels: Gene never occurs in train",
        "data.labels: Gene never occurs in test",
        "data.repair: 1 broken tag sequences mended in test",
    )


def test_files_of_one_split_are_numbered_by_corpus(folder):
    entries = [{"path": str(folder / name), "name": "both"} for name in ("train.tsv", "test.tsv")]
    store = SampleStore.open(build(folder, train=[*entries, {"path": str(folder / "test.tsv")}]), "train")
    ids = [store.sample_id(sample) for sample in range(store.samples)]
    assert ids == [f"both:{number}" for number in range(1, 10)] + ["test:1"]


def test_sensitive_indexes_are_their_owners_alone(folder):
    def mode(path):
        return stat.S_IMODE(Path(path).stat().st_mode)

    assert mode(build(folder).store) & 0o055
    index = build(folder, sensitive=True)
    assert mode(index.store) == 0o700  # closed, though it was there
    private = build_index(recipe(folder, sensitive=True), None, folder / "private")
    assert mode(private.store) == mode(folder / "private") == 0o700


def test_dead_builders_are_swept_live_ones_left(folder):
    cache = folder / "cache"
    cache.mkdir()
    dead, alive = cache / ".aa.staging-host-1", cache / ".bb.staging-host-2"
    dead.mkdir()
    alive.mkdir()
    with (cache / ".bb.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build(folder)
    assert alive.exists() and not dead.exists()


def test_a_folder_that_cannot_be_written(folder):
    (folder / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(MachineCannot, match="cannot write the data index"):
        build(folder)


def test_an_encoders_tokenizer_is_used_and_travels(folder):
    write_tokenizer(train_wordpiece(["colon", "cancer", "APC"], 60), folder / "encoder")
    index = build_index(recipe(folder), folder / "encoder", folder / "cache")
    written = json.loads((Path(index.tokenizer) / "tokenizer.json").read_text(encoding="utf-8"))
    assert len(written["model"]["vocab"]) == index.vocab_size
    assert index.fingerprint != build(folder).fingerprint


BUILDER = """
import sys
from pathlib import Path
from biodist.config.recipe import Recipe
from biodist.data.indexing import build_index
built = []
recipe = Recipe.model_validate_json(sys.argv[1])
index = build_index(recipe, None, Path(sys.argv[2]), lambda split, samples: built.append(split))
sys.stdout.write(("built " if built else "reused ") + index.fingerprint)
"""


def test_processes_at_once_build_one_index(folder):
    command = [sys.executable, "-c", BUILDER, recipe(folder).model_dump_json(), str(folder / "cache")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=120)[0].split() for process in started]
    assert sorted(word for word, _ in said) == ["built", "reused", "reused", "reused"]
    assert len({fingerprint for _, fingerprint in said}) == 1


FULL_DISK = """
import resource, sys
from biodist.errors import MachineCannot
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    exec(sys.argv.pop(1))
except MachineCannot as error:
    sys.exit(str(error))
"""


def test_a_disk_that_fills_leaves_nothing_behind(folder):
    """A limit on a file's size stands in for the disk: the write fails in the middle."""
    command = [sys.executable, "-c", FULL_DISK, BUILDER, recipe(folder).model_dump_json(), str(folder / "cache")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "cannot write the data index" in ended.stderr
    assert all(path.name.endswith(".lock") for path in (folder / "cache").iterdir())


def test_no_torch_is_imported():
    code = "import sys, biodist.data.indexing; sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
