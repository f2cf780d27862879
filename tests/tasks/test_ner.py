"""Entities of corpora that annotate different types: what each scheme's loss is, and what is scored."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from biodist.config.recipe import Recipe
from biodist.data.indexing import build_index
from biodist.data.store import SampleStore
from biodist.data.tags import iob2_labels
from biodist.tasks import ner
from biodist.tasks.joining import SAID
from biodist.tasks.ner import EntityTask, Merge, target_tables
from biodist.tasks.protocol import IGNORED
from biodist.tasks.tag_paths import TagPaths

pytestmark = pytest.mark.timeout(120)

TYPES = ("Disease", "Gene")
TAGS = iob2_labels(TYPES)
VIEWS = (("Disease",), ("Gene",), ("Disease", "Gene"))
MERGES: tuple[Merge, ...] = ("marginal", "masked", "naive", "tagged")

sentences = st.tuples(st.integers(0, 2), st.lists(st.integers(0, len(TAGS) - 1), min_size=1, max_size=4))


def task(merge: Merge, views: tuple[tuple[str, ...], ...] = VIEWS) -> EntityTask:
    return EntityTask(TAGS, views, merge)


def given_by(view: int, tags: list[int]) -> list[int]:
    """The tags as a corpus of that view has them: others are outside."""
    return [tag if tag == 0 or TAGS[tag][2:] in VIEWS[view] else 0 for tag in tags]


def batch(view: int, tags: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Scores of one sentence in a row with pieces that count in no loss, and its coded labels."""
    codes = [view * len(TAGS) + tag for tag in tags]
    labels = torch.tensor([[IGNORED, *(code for each in codes for code in (each, IGNORED))]])
    return torch.randn(1, labels.shape[1], len(TAGS), generator=torch.Generator().manual_seed(seed)), labels


def likelihood(scores: Tensor, labels: Tensor, allowed: list[set[int]]) -> float:
    """The sum of the probabilities of all tag sequences that an annotation leaves open, one by one."""
    probabilities = scores[labels != IGNORED].double().softmax(-1)
    return sum(
        float(torch.stack([probabilities[at, tag] for at, tag in enumerate(sequence)]).prod())
        for sequence in product(range(len(TAGS)), repeat=len(allowed))
        if all(tag in open_ for tag, open_ in zip(sequence, allowed, strict=True))
    )


def left_open(view: int, tag: int) -> set[int]:
    """What a token may be, by the annotation of this view: what it says, and of an outside one all it does not see."""
    unseen = {number for number, name in enumerate(TAGS) if name != "O" and name[2:] not in VIEWS[view]}
    return {tag} if tag else {0} | unseen


def marginal_error(view: int, tags: list[int], seed: int) -> float:
    """How far the loss lies from the logarithm of the brute sum."""
    tags = given_by(view, tags)
    scores, labels = batch(view, tags, seed)
    brute = -np.log(likelihood(scores, labels, [left_open(view, tag) for tag in tags]))
    return abs(float(task("marginal").loss_sum(scores, labels, None)) - brute)


@settings(max_examples=60, deadline=None)
@given(sentences, st.integers(0, 1000))
def test_marginal_is_the_likelihood_of_all_that_the_annotation_leaves_open(
    sentence: tuple[int, list[int]], seed: int
) -> None:
    assert marginal_error(*sentence, seed) < 1e-4


@pytest.mark.parametrize("fault", ["inside tags forgotten", "naive", "views swapped"])
def test_the_brute_sum_catches_a_loss_that_is_wrong(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(within: np.ndarray, merge: Merge) -> tuple[np.ndarray, np.ndarray]:
        if fault == "views swapped":
            within = within[[1, 0, 2]]
        right, possible = target_tables(within, merge)
        if fault == "inside tags forgotten":
            right[0 :: len(TAGS), 2::2] = False
        if fault == "naive":
            right[0 :: len(TAGS), 1:] = False
        return right, possible

    monkeypatch.setattr(ner, "target_tables", wrong)
    assert marginal_error(0, [0, 1, 2], 3) > 0.01


@settings(max_examples=60, deadline=None)
@given(sentences, st.integers(0, 1000))
def test_the_other_schemes(sentence: tuple[int, list[int]], seed: int) -> None:
    """masked compares with the view's own tags alone; naive and tagged take an outside tag at its word."""
    view, tags = sentence[0], given_by(*sentence)
    scores, labels = batch(view, tags, seed)
    counted, target = scores[labels != IGNORED].double(), torch.tensor(tags)
    plain = float(nn.functional.cross_entropy(counted, target, reduction="sum"))
    own = [number for number, name in enumerate(TAGS) if name == "O" or name[2:] in VIEWS[view]]
    masked = float(-(counted[range(len(tags)), tags] - counted[:, own].logsumexp(-1)).sum())
    for merge, expected in (("naive", plain), ("tagged", plain), ("masked", masked)):
        assert float(task(merge).loss_sum(scores, labels, None)) == pytest.approx(expected, abs=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("merge", MERGES)
def test_one_view_is_cross_entropy_bit_for_bit(merge: Merge) -> None:
    scores, labels = batch(0, [0, 1, 2, 0, 3, 4], 5)
    scores.requires_grad_()
    plain = nn.functional.cross_entropy(scores[0], labels[0], ignore_index=IGNORED, reduction="sum")
    (wanted,) = torch.autograd.grad(plain, scores)
    for views in ((), (TYPES,)):
        loss = EntityTask(TAGS, views, merge).loss_sum(scores, labels, None)
        (found,) = torch.autograd.grad(loss, scores)
        assert torch.equal(loss, plain) and torch.equal(found, wanted)


@pytest.mark.parametrize("merge", MERGES)
def test_gradients_are_finite_and_none_flow_where_nothing_is_said(merge: Merge) -> None:
    """An outside token of a disease corpus says nothing of genes: marginal and masked leave B-Gene where it is."""
    scores, labels = batch(0, [0, 1], 7)
    scores.requires_grad_()
    (found,) = torch.autograd.grad(task(merge).loss_sum(scores, labels, None), scores)
    assert bool(torch.isfinite(found).all()) and not found[labels == IGNORED].any()
    outside, gene = found[0, 1], TAGS.index("B-Gene")
    if merge in ("naive", "tagged"):
        assert outside[gene] > 0  # pushed down
    elif merge == "marginal":
        assert outside[gene] <= 0  # drawn on as much as the outside tag is, by its share of what is open
        assert outside[gene] / outside[0] == pytest.approx(
            float((scores[0, 1, gene] - scores[0, 1, 0]).detach().exp()), rel=1e-3
        )
    else:
        assert outside[gene] == 0


DISEASES = "APC\tO\ncauses\tO\ncolon\tB-Disease\ncancer\tI-Disease\n\n"
GENES = "APC\tB-Gene\ncauses\tO\ncolon\tO\ncancer\tO\n\nAPC\tB-Gene\n\n"


@pytest.fixture
def store(tmp_path: Path) -> SampleStore:
    """The same words, seen by two corpora."""
    (tmp_path / "d.tsv").write_text(DISEASES)
    (tmp_path / "g.tsv").write_text(GENES)
    files = [
        {"path": str(tmp_path / "d.tsv"), "annotates": ["Disease"]},
        {"path": str(tmp_path / "g.tsv"), "annotates": ["Gene"]},
    ]
    data = {"labels": TYPES, "max_length": 32, "stride": 2, "train": files, "validation": files, "leaks": "keep"}
    model = {"init": "scratch", "scratch": {"vocab_size": 90}}
    given = {"name": "x", "task": "ner", "model": model, "data": data, "train": {"epochs": 1}}
    index = build_index(Recipe.model_validate(given), None, tmp_path / "cache")
    assert index.views == (("Disease",), ("Gene",))
    return SampleStore.open(index, "validation")


def test_a_corpus_is_scored_on_its_own_types(store: SampleStore) -> None:
    names = ["B-Gene", "O", "B-Disease", "I-Disease"]
    said = [TAGS.index(name) for name in names]
    predicted = dict(enumerate(np.array([(tag, 0.5) for tag in tags], SAID) for tags in (said, said, said[:1])))
    entities = EntityTask(TAGS, (("Disease",), ("Gene",)), "marginal").decode(store, predicted)
    assert [(corpus.name, corpus.samples, corpus.types) for corpus in entities.corpora] == [
        ("d", range(1), ("Disease",)),
        ("g", range(1, 3), ("Gene",)),
    ]
    assert entities.predicted == [["O", "O", *names[2:]], ["B-Gene", "O", "O", "O"], ["B-Gene"]]
    assert entities.predicted == entities.gold


@pytest.fixture
def in_turn(tmp_path: Path) -> SampleStore:
    """A long sentence with both types, and one of a corpus of diseases alone, in windows of few words."""
    words = [("APC", "B-Gene"), ("causes", "O"), ("colon", "B-Disease"), ("cancer", "I-Disease")] * 6
    (tmp_path / "both.tsv").write_text("".join(f"{word}\t{tag}\n" for word, tag in words) + "\nAPC\tB-Gene\n\n")
    (tmp_path / "d.tsv").write_text(DISEASES)
    (tmp_path / "g.tsv").write_text(GENES)
    own = [{"path": str(tmp_path / f"{name[0].lower()}.tsv"), "annotates": [name]} for name in TYPES]
    data = {"labels": TYPES, "max_length": 18, "stride": 4, "merge": "tagged", "leaks": "keep", "train": own}
    data["validation"] = [{"path": str(tmp_path / "both.tsv")}, own[0]]
    model = {"init": "scratch", "scratch": {"vocab_size": 200}}
    given = {"name": "x", "task": "ner", "model": model, "data": data, "train": {"epochs": 1}}
    index = build_index(Recipe.model_validate(given), None, tmp_path / "cache")
    assert index.views == VIEWS
    return SampleStore.open(index, "validation")


def passes_of(store: SampleStore) -> list[int]:
    """The pass of each window."""
    halves = []
    for sample in range(store.samples):
        windows = int(store.first_window[sample + 1] - store.first_window[sample])
        halves += [0] * (windows // 2) + [1] * (windows // 2)
    return halves


def answered(store: SampleStore, own: Callable[[int, str], bool]) -> dict[int, np.ndarray]:
    """What a model would say that knows the gold, of the tags that ``own`` allows in a pass: windows in any order."""
    said = {}
    for number, which in reversed(list(enumerate(passes_of(store)))):
        window = store.window(number)
        gold = store.gold(int(store.sample_of[number]))[window.words[window.words >= 0]]
        said[number] = np.array([(tag if own(which, TAGS[tag][2:]) else 0, 0.9) for tag in gold], SAID)
    return said


def test_passes_of_long_sentences_are_put_together(in_turn: SampleStore) -> None:
    assert in_turn.windows > 2 * in_turn.samples
    model = EntityTask(TAGS, VIEWS, "tagged", VIEWS[:2])
    entities = model.decode(in_turn, answered(in_turn, lambda which, kind: kind == TYPES[which]))
    assert entities.predicted == entities.gold and [len(tags) for tags in entities.gold] == [24, 1, 4]
    assert [corpus.types for corpus in entities.corpora] == [TYPES, ("Disease",)]
    swapped = model.decode(in_turn, answered(in_turn, lambda which, kind: kind != TYPES[which]))
    assert all(set(tags) == {"O"} for tags in swapped.predicted)  # neither pass is asked for these
    everything = model.decode(in_turn, answered(in_turn, lambda which, kind: True))
    assert everything.predicted == entities.gold


def test_an_index_of_one_pass_on_all_types_is_scored_as_it_was(store: SampleStore) -> None:
    names = ["B-Gene", "O", "B-Disease", "I-Disease"]
    said = np.array([(TAGS.index(name), 0.5) for name in names], SAID)
    views = (("Disease",), ("Gene",))
    entities = EntityTask(TAGS, views, "tagged", views).decode(store, dict(enumerate((said, said, said[:1]))))
    assert entities.predicted == entities.gold


def test_every_window_of_a_batch_gets_tags_that_make_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second lies in the middle of its sentence and may go on with a mention; the first and third may not."""
    names = {"O": "O", "D": "B-Disease", "d": "I-Disease", "G": "B-Gene", "g": "I-Gene"}
    own, second = "OdgOgG", "ODGOGO"  # each word's likeliest tag, and the one behind it
    scores = torch.full((1, 2 * len(own), len(TAGS)), -9.0)
    for word, (best, other) in enumerate(zip(own, second, strict=True)):
        scores[0, 2 * word, TAGS.index(names[other])] = 0.5
        scores[0, 2 * word, TAGS.index(names[best])] = 1.0
    labels = torch.tensor([[0, IGNORED] * len(own)])
    windows = [np.array(words, np.int32) for words in ([0, 1], [4, 5], [0, 1])]

    def said() -> tuple[list[str], list[np.ndarray]]:
        found = EntityTask(TAGS).predictions(scores.to(torch.bfloat16), labels, windows)
        letters = {TAGS.index(name): letter for letter, name in names.items()}
        return ["".join(letters[tag] for tag in each["tag"]) for each in found], found

    tags, found = said()
    assert tags == ["OD", "gO", "GG"]
    chances = scores[0, ::2].softmax(-1)
    expected = [float(chances[word, TAGS.index(names[tag])]) for word, tag in enumerate("ODgOGG")]
    assert np.concatenate(found)["score"] == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(TagPaths, "likeliest", lambda self, scores, words: scores.argmax(-1).astype(np.int16))
    assert said()[0] == ["Od", "gO", "gG"], "each word's own tag"


def test_no_loss_counts_a_pass_on_types_that_a_corpus_does_not_annotate(in_turn: SampleStore) -> None:
    """Of others it is the cross entropy with the mentions of the pass's own types."""
    model = EntityTask(TAGS, VIEWS, "tagged", VIEWS[:2])
    for number, which in enumerate(passes_of(in_turn)):
        sample, window = int(in_turn.sample_of[number]), in_turn.window(number)
        labels = torch.from_numpy(window.labels.astype(np.int64))[None]
        scores = torch.randn(1, labels.shape[1], len(TAGS), generator=torch.Generator().manual_seed(number))
        gold = in_turn.gold(sample)[window.words[window.words >= 0]].tolist()
        told = torch.tensor([tag if TAGS[tag][2:] == TYPES[which] else 0 for tag in gold])
        plain = float(nn.functional.cross_entropy(scores[labels >= 0], told, reduction="sum"))
        of_diseases_alone = sample == in_turn.samples - 1
        wanted = 0.0 if of_diseases_alone and which == 1 else plain
        assert float(model.loss_sum(scores, labels, None)) == pytest.approx(wanted, rel=1e-5)
        (said,) = model.predictions(scores, labels, [window.owned])
        assert said["tag"].tolist() == TagPaths(TAGS).likeliest(scores[labels >= 0].numpy(), [window.owned]).tolist()


def test_labels_carry_their_view_and_gold_does_not(store: SampleStore) -> None:
    labels = [store.window(number).labels for number in range(store.windows)]
    coded = [each[each != IGNORED].tolist() for each in labels]
    assert coded[0] == [0, 0, 1, 2] and coded[1] == [5 + 3, 5, 5, 5] and coded[2] == [5 + 3]
    assert [store.gold(sample).tolist() for sample in range(store.samples)] == [[0, 0, 1, 2], [3, 0, 0, 0], [3]]
