"""Real corpora: the counts of every file equal those its source states. Needs their folder in BIODIST_SHARED."""

import os
import re
from pathlib import Path

import pytest

from biodist.config.recipe import Recipe
from biodist.data.check import check_file
from biodist.data.indexing import build_index
from biodist.data.iob import Source

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
    data = {"labels": ["Disease"], "max_length": 64, "stride": 16, **data}
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
