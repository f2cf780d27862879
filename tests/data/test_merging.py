"""Several corpora of a recipe: views, leaks and copies in its index, and all of it in one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from biodist.config.recipe import Recipe
from biodist.data.indexing import build_index, index_notices
from biodist.data.iob import Reading, Source
from biodist.data.merging import merge_corpora
from biodist.data.store import SampleStore
from biodist.errors import UserError

pytestmark = pytest.mark.timeout(120)

SENTENCE = "{0}\tO\ncauses\tO\ncolon\t{1}\ncancer\t{2}\nin\tO\nmice\tO\n\n"


def write(folder: Path, name: str, firsts: str, disease: bool = True, head: str = "") -> dict[str, Any]:
    """A file of one sentence for each word of ``firsts``."""
    tags = ("B-DISO", "I-DISO") if disease else ("O", "O")
    text = "".join(SENTENCE.format(first, *tags) for first in firsts.split())
    (folder / name).write_text(head + text)
    return {"path": str(folder / name), "map": {"DISO": "Disease"}}


def recipe(folder: Path, **data: Any) -> Recipe:
    """Two corpora, of which one annotates diseases, the other genes; a third is validated on."""
    files = {
        "train": [
            {**write(folder, "d.tsv", "A1 A2 A3 A4"), "annotates": ["Disease"]},
            {**write(folder, "g.tsv", "A4 A5 A6", disease=False), "annotates": ["Gene"]},
        ],
        "validation": [write(folder, "v.tsv", "A2 B1")],
        "test": [write(folder, "t.tsv", "A5 B2 a-2")],
    }
    section = {"labels": ["Disease", "Gene"], "max_length": 24, "stride": 2, **files, **data}
    model = {"init": "scratch", "scratch": {"vocab_size": 400}}
    given = {"name": "x", "task": "ner", "model": model, "data": section, "train": {"epochs": 1}}
    return Recipe.model_validate(given)


def index_of(folder: Path, **data: Any) -> Any:
    return build_index(recipe(folder, **data), None, folder / "cache")


def test_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    train = index.splits["train"]
    assert (train.samples, train.leaked) == (5, 2)  # A2 of d, which validation and test have, and A5 of g
    assert train.types == {"Disease": 3, "Gene": 0}
    assert (index.splits["validation"].samples, index.splits["test"].samples) == (2, 3)
    assert index.views == (("Disease",), ("Gene",), ("Disease", "Gene"))
    assert {name: len(own) for name, own in SampleStore.open(index, "train").corpora.items()} == {"d": 3, "g": 2}
    assert next(said.partition(";")[0] for said in index_notices(index, "naive")) == (
        "data.merge: the corpora annotate 3 different sets of types, and naive takes the others for absent"
    )
    assert not any(said.startswith("data.merge") for said in index_notices(index))
    said = "data.leaks: 2 sentences of train are in validation or test too, and are not trained on"
    assert said in index_notices(index)


def test_leaks_may_be_kept_which_makes_other_data(tmp_path: Path) -> None:
    kept = index_of(tmp_path, leaks="keep")
    assert (kept.splits["train"].samples, kept.splits["train"].leaked) == (7, 0)
    assert kept.fingerprint != index_of(tmp_path).fingerprint


def test_a_sentence_of_a_document_of_the_test_split_is_not_trained_on(tmp_path: Path) -> None:
    entry = {**write(tmp_path, "p.tsv", "A7 A8", head="-DOCSTART- (9910101)\n"), "map": {"DISO": "Disease"}}
    test = write(tmp_path, "q.tsv", "Z9", head="-DOCSTART- (9910101)\n")
    index = index_of(tmp_path, train=[*recipe(tmp_path).data.train, entry], test=[test])
    assert index.splits["train"].leaked == 1 + 2  # A2 is in validation


def test_nothing_left_to_train_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.train: every sentence is in data\.validation or data\.test"):
        index_of(tmp_path, validation=recipe(tmp_path).data.train)


def test_copies_come_behind_a_file_s_own_samples(tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text("DISO\tred fever\nGene\tTP53\n")
    sources = [str(tmp_path / "names.tsv")]
    augment = {"share": 1.0, "sources": sources, "map": {"DISO": "Disease"}}
    index = index_of(tmp_path, augment=augment)
    train = index.splits["train"]
    assert (train.samples, train.augmented, train.leaked) == (5 + 3, 3, 2)  # g has no mention
    store = SampleStore.open(index, "train")
    assert {name: len(own) for name, own in store.corpora.items()} == {"d": 6, "g": 2}
    assert [store.gold(sample).tolist() for sample in range(6)] == [[0, 0, 1, 2, 0, 0]] * 6
    assert "data.augment: 3 copies with exchanged mentions added to train" in index_notices(index)
    assert index.splits["test"].augmented == 0
    (tmp_path / "names.tsv").write_text("DISO\tblue fever\nGene\tTP53\n")
    changed = index_of(tmp_path, augment=augment)
    both = index_of(tmp_path, augment={**augment, "sources": ["corpus", *sources]})
    assert len({index.fingerprint, changed.fingerprint, both.fingerprint}) == 3
    # The corpus has no other name of a disease than the mention itself: the file's takes its place.
    assert both.splits["train"].augmented == 3


def test_a_broken_file_of_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text("Disease\tred fever\nDiseases\tx\nno name\n")
    with pytest.raises(UserError) as caught:
        index_of(tmp_path, augment={"share": 1.0, "sources": [str(tmp_path / "names.tsv")]})
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path}/names.tsv:2: column 1: entity type that is not declared (nearest declared: Disease; rename it "
        "with data.augment.map)",
        f"{tmp_path}/names.tsv:3: has 1 columns (a line is a type, a tab and a name)",
    ]


def test_tagged_windows_name_the_types_that_are_asked_for(tmp_path: Path) -> None:
    index = index_of(tmp_path, merge="tagged")
    stores = {split: SampleStore.open(index, split) for split in ("train", "validation")}
    of_disease, of_gene = (opening(stores["train"], int(stores["train"].first_window[sample])) for sample in (0, 3))
    assert of_disease != of_gene and len(of_disease) == len(of_gene) > 1  # more than the special token
    # No training corpus annotates both types: they are asked for in turn, sample by sample.
    assert [opening(stores["validation"], number) for number in range(4)] == [of_disease, of_gene] * 2
    both = [{"path": str(tmp_path / "v2.tsv"), "map": {"DISO": "Disease"}}]
    write(tmp_path, "v2.tsv", "Q1")
    trained = SampleStore.open(index_of(tmp_path, merge="tagged", train=[*recipe(tmp_path).data.train, *both]), "test")
    assert trained.windows == 3 and len(opening(trained, 0)) > len(of_disease)
    plain = index_of(tmp_path)
    assert plain.fingerprint != index.fingerprint
    assert plain.splits["train"].targets == index.splits["train"].targets


def opening(store: SampleStore, number: int) -> list[int]:
    """What a window begins with, up to its first word."""
    window = store.window(number)
    return window.input_ids[: int((window.labels >= 0).argmax())].tolist()


def test_types_asked_for_in_turn_are_told_pass_by_pass(tmp_path: Path) -> None:
    """Of a corpus of both types each pass tells its own; of one type's corpus the other pass tells nothing."""
    alone = {**write(tmp_path, "w.tsv", "C1"), "annotates": ["Disease"]}
    index = index_of(tmp_path, merge="tagged", validation=[write(tmp_path, "u.tsv", "B1"), alone])
    store = SampleStore.open(index, "validation")
    assert index.views == (("Disease",), ("Gene",), ("Disease", "Gene")) and len(index.labels) == 5
    found = [store.window(number) for number in range(4)]
    words = [window.labels[window.labels >= 0].tolist() for window in found]
    both, one, untold = 2 * 5, 0, 3 * 5
    assert words == [
        [both, both, both + 1, both + 2, both, both],
        [both] * 6,
        [one, one, one + 1, one + 2, one, one],
        [untold + one] * 6,
    ]
    assert [store.gold(sample).tolist() for sample in range(2)] == [[0, 0, 1, 2, 0, 0]] * 2
    assert index.splits["validation"].targets == 4 * 6


def test_tagged_refuses_types_that_no_marker_tells_apart(tmp_path: Path) -> None:
    chosen = recipe(tmp_path, merge="tagged", labels=["Disease", "Gene"])
    names = {"labels": ["甲", "乙"], "train": [], "validation": [], "test": []}
    for split in ("train", "validation", "test"):
        for number, entry in enumerate(getattr(chosen.data, split)):
            own = {"annotates": [["甲"], ["乙"]][number]} if split == "train" else {}
            names[split].append({"path": entry.path, "map": {"DISO": "甲"}, **own})
    tokenizer = Path(index_of(tmp_path).tokenizer)  # it has never seen these letters
    given = recipe(tmp_path, **{**names, "merge": "tagged"})
    with pytest.raises(UserError, match=r"data\.merge: tagged needs a marker for each set of types"):
        build_index(given, tokenizer, tmp_path / "cache")


def test_one_corpus_keeps_its_fingerprint_whatever_the_scheme(tmp_path: Path) -> None:
    alone = [write(tmp_path, "d.tsv", "A1 A2")]
    prints = {
        index_of(tmp_path, train=alone, validation=[], test=[], merge=merge).fingerprint
        for merge in ("marginal", "masked", "naive", "tagged")
    }
    assert len(prints) == 1


def test_the_training_corpora_in_one_file(tmp_path: Path) -> None:
    to = tmp_path / "merged.tsv"
    merged = merge_corpora(recipe(tmp_path), to)
    assert [(one.name, one.annotates, one.sentences, one.leaked) for one in merged.corpora] == [
        ("d", ("Disease",), 3, 1),
        ("g", ("Gene",), 2, 1),
    ]
    assert merged.corpora[0].mentions == {"Disease": 3} and merged.corpora[0].tokens == 18
    lines = to.read_text().splitlines()
    assert lines[:4] == [
        "A1\td\tDisease\tO",
        "causes\td\tDisease\tO",
        "colon\td\tDisease\tB-Disease",
        "cancer\td\tDisease\tI-Disease",
    ]
    read = list(Reading(Source(to)))
    assert [record.tokens[0] for record in read] == ["A1", "A3", "A4", "A4", "A6"]
    with pytest.raises(UserError, match="is there already"):
        merge_corpora(recipe(tmp_path), to)


@pytest.mark.parametrize(("sensitive", "mode"), [(True, 0o600), (False, 0o644)])
def test_a_merged_file_of_sensitive_corpora_is_its_owner_s_alone(tmp_path: Path, sensitive: bool, mode: int) -> None:
    before = os.umask(0o022)
    try:
        merge_corpora(recipe(tmp_path, sensitive=sensitive), tmp_path / "merged.tsv")
    finally:
        os.umask(before)
    assert (tmp_path / "merged.tsv").stat().st_mode & 0o777 == mode


def test_a_broken_corpus_leaves_no_merged_file(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    (tmp_path / "g.tsv").write_text("x\tI-Gene\n\ny\tB-Cell\n")
    with pytest.raises(UserError) as caught:
        merge_corpora(given, tmp_path / "merged.tsv")
    assert len(caught.value.problems) == 2 and not list(tmp_path.glob("*merged*"))
