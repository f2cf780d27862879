"""Real corpora: the counts of every file equal those its source states. Needs their folder in BIODIST_SHARED."""

import json
import os
import re
from collections import Counter
from itertools import accumulate
from pathlib import Path

import pytest

from biodist.config.recipe import Columns, CorpusEntry, Recipe
from biodist.data.check import check_file, check_text_file
from biodist.data.indexing import build_index
from biodist.data.iob import Reading, Source
from biodist.data.records import Document
from biodist.data.sentences import SentenceCounts, sentences
from biodist.data.store import SampleStore
from biodist.data.texts import TextFormat, TextSource

ROW = re.compile(r"^\| (\w+) \| (\d+) \| (\d+) \| (.*?) \| (\d+) \((\d+)\) \|$", re.MULTILINE)
SHARED = os.environ.get("BIODIST_SHARED", "")
SOURCES = sorted(Path(SHARED, "data").glob("ner*/*/SOURCE.md")) if SHARED else []
STATED = [
    pytest.param(source.parent, *row, id=f"{source.parent.name}-{row[0]}")
    for source in SOURCES
    for row in ROW.findall(source.read_text(encoding="utf-8"))
]

pytestmark = pytest.mark.skipif(not STATED, reason="BIODIST_SHARED names no folder with data/ner*/*/SOURCE.md")


@pytest.mark.parametrize(("folder", "split", "sentences", "tokens", "mentions", "repeated", "otherwise"), STATED)
def test_counts_are_those_of_the_source(folder, split, sentences, tokens, mentions, repeated, otherwise):
    (path,) = folder.glob(f"{split}.*")
    conll = path.suffix == ".txt"
    report = check_file(Source(path, "conll" if conll else "iob", repair=conll))
    stated = {kind: int(count) for kind, count in (each.rsplit(" ", 1) for each in mentions.split(", "))}
    assert (report.counts.sentences, report.counts.tokens) == (int(sentences), int(tokens))
    assert report.counts.mentions == stated and report.problems == ()
    assert report.repeats.contradictions == int(otherwise)
    if (
        folder.name != "linnaeus"
    ):  # its source counts one repeat (test) and five (train) that its own rule does not give
        assert report.repeats.repeated == int(repeated)


def test_ncbi_disease_becomes_an_index(tmp_path):
    folder = Path(SHARED, "data/ner/NCBI-disease")
    files = {"train": "train.tsv", "validation": "devel.tsv", "test": "test.tsv"}
    data = {split: [{"path": str(folder / name)}] for split, name in files.items()}
    data = {"labels": ["Disease"], "max_length": 64, "stride": 16, "leaks": "keep", **data}
    model = {"init": "scratch"}
    recipe = Recipe.model_validate({"name": "x", "task": "ner", "model": model, "data": data, "train": {"epochs": 1}})
    index = build_index(recipe, None, tmp_path)
    counted = {split: (each.samples, each.targets, each.types) for split, each in index.splits.items()}
    assert counted == {
        "train": (5424, 135701, {"Disease": 5134}),
        "validation": (923, 23969, {"Disease": 787}),
        "test": (940, 24497, {"Disease": 960}),
    }
    assert index.splits["train"].windows > 5424 and index.splits["train"].longest <= 64
    dropped = recipe.model_copy(update={"data": recipe.data.model_copy(update={"leaks": "drop"})})
    train = build_index(dropped, None, tmp_path).splits["train"]
    assert (train.samples, train.leaked) == (5423, 1)


def text_check(path: Path, format: TextFormat, task: str, label: str | None = None, **options):
    entry = CorpusEntry(path=str(path), format=format, columns=Columns(label=label))
    return check_text_file(TextSource(path, format, entry.columns_for(task), no_majority=task == "nli", **options))


@pytest.mark.parametrize("split", ["dev", "test"])
def test_snli_counts_are_those_of_the_source(split):
    folder = Path(SHARED, "data/nli/SNLI-sample")
    written = (folder / "SOURCE.md").read_text(encoding="utf-8")
    stated = json.loads(written[written.index("\n{") : written.rindex("}") + 1])[f"SNLI-{split}"]
    report = text_check(folder / f"{split}.jsonl", "jsonl", "nli")
    assert report.problems == () and report.counts.classes == {
        label: stated[label] for label in ("contradiction", "entailment", "neutral")
    }
    assert (report.counts.samples, report.counts.dropped) == (stated["pairs"] - stated["-"], stated["-"])


def test_pubmedqa_counts_are_those_of_the_source():
    path = Path(SHARED, "data/qa/PubMedQA/ori_pqal.json")
    report = text_check(path, "pubmedqa", "classification")
    assert report.problems == () and report.counts.classes == {"maybe": 110, "no": 338, "yes": 552}
    samples = json.loads(path.read_text(encoding="utf-8")).values()
    terms = Counter(term for sample in samples for term in sample["MESHES"])
    declared = tuple(term for term, _ in terms.most_common(20))
    report = text_check(path, "pubmedqa", "classification", "MESHES", declared=declared, multi_label=True)
    assert report.counts.classes == {term: terms[term] for term in sorted(declared)}
    assert report.counts.undeclared == terms.total() - sum(terms[term] for term in declared)


def test_snli_becomes_an_index(tmp_path):
    folder = Path(SHARED, "data/nli/SNLI-sample")
    files = {"train": "dev.jsonl", "test": "test.jsonl"}
    data = {split: [{"path": str(folder / name), "format": "jsonl"}] for split, name in files.items()}
    data = {"labels": ["entailment", "neutral", "contradiction"], "max_length": 64, **data}
    stated = {"name": "x", "task": "nli", "model": {"init": "scratch"}, "data": data, "train": {"epochs": 1}}
    index = build_index(Recipe.model_validate(stated), None, tmp_path)
    train = index.splits["train"]
    assert (train.samples, train.windows, train.targets, train.dropped) == (1273, 1273, 1273, 16)
    assert train.types == {"entailment": 433, "neutral": 421, "contradiction": 419} and train.longest <= 64
    store = SampleStore.open(index, "train")
    gold = Counter(int(store.gold(sample)[0]) for sample in range(store.samples))
    assert gold == {0: 433, 1: 421, 2: 419} and bool((store.seconds < store.lengths).all())


def test_sentences_and_words_by_rules_are_those_of_a_real_corpus():
    """Ten sentences joined to a text each: the same words, and nearly all sentence beginnings found again."""
    records = list(Reading(Source(Path(SHARED, "data/ner/NCBI-disease/test.tsv"))))
    counts, found = SentenceCounts(), 0
    for first in range(0, len(records), 10):
        part = records[first : first + 10]
        text = " ".join(token for record in part for token in record.tokens)
        begins = [0, *accumulate(len(" ".join(record.tokens)) + 1 for record in part)]
        cut = [record.offsets[0][0] for record in sentences(Document("1", "c", 1, text, ()), counts)]
        found += len({*begins} & {*cut})
    assert counts.tokens == 24497 and found >= 925 and counts.sentences <= 980  # of 940
