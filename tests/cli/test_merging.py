"""Two corpora that annotate different types, from the command line: merged knowingly, naively, and gone on from."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from biodist.data import views
from biodist.data.iob import Reading, Source
from biodist.run.folder import RunFolder
from biodist.tasks import choice
from biodist.training.tagger import Tagger

pytestmark = pytest.mark.timeout(400)

DISEASES = ("cancer", "fever", "asthma", "anaemia", "colon carcinoma", "diabetes mellitus")
GENES = ("APC", "TP53", "BRCA1", "KRAS", "EGFR", "insulin")
RECIPE = """\
name: merged
task: ner
model:
  init: scratch
  scratch: {layers: 1, hidden_size: 32, heads: 2, intermediate_size: 64, vocab_size: 300, max_positions: 64}
  dropout: 0.0
data:
  max_length: 64
  stride: 8
  labels: [Disease, Gene]
  merge: marginal
  sampling: equal
  train: [{path: d.tsv, annotates: [Disease]}, {path: g.tsv, annotates: [Gene]}]
  validation: [{path: vd.tsv, annotates: [Disease]}, {path: vg.tsv, annotates: [Gene]}]
  test: [{path: test.tsv}]
train: {epochs: 5, global_batch: 16, learning_rate: 5e-3, seed: 1}
evaluate: {metric: macro_f1}
"""


def write(path: Path, sentences: int, types: Iterable[str], chance: random.Random) -> None:
    """Sentences of two names each, of which those of ``types`` are marked."""
    lines = []
    for number in range(sentences):
        names = [chance.choice(DISEASES + GENES), chance.choice(("binds", "meets")), chance.choice(DISEASES + GENES)]
        for name in (*names, f"{path.stem}{number}", "."):
            kind = "Disease" if name in DISEASES else "Gene" if name in GENES else ""
            for at, word in enumerate(name.split()):
                lines.append(f"{word}\t" + ("BI"[at > 0] + f"-{kind}" if kind in types else "O"))
        lines.append("")
    path.write_text("\n".join(lines) + "\n")


def result(desk: Any, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((desk.folder / run / "result.json").read_text())
    return found


@pytest.fixture
def corpora(desk: Any) -> Path:
    chance, folder = random.Random(1), desk.folder / "merging"
    folder.mkdir()
    for name, sentences, types in (
        ("d", 400, ("Disease",)),
        ("g", 300, ("Gene",)),
        ("vd", 40, ("Disease",)),
        ("vg", 40, ("Gene",)),
        ("test", 80, ("Disease", "Gene")),
    ):
        write(folder / f"{name}.tsv", sentences, types, chance)
    (folder / "merged.yaml").write_text(RECIPE.replace("path: ", "path: merging/"))
    return folder


def train(desk: Any, run: str, *overrides: str, nproc: int = 1) -> str:
    where = ("--run", run, "--device", "cpu", "--nproc", str(nproc))
    said = desk.run("train", "merging/merged.yaml", *overrides, *where)
    assert said.code == 0, said.text
    return str(said.out)


def test_a_scheme_that_knows_finds_both_types_and_a_naive_merge_does_not(desk: Any, corpora: Path) -> None:
    table = train(desk, "merging-marginal")
    train(desk, "merging-naive", "data.merge=naive")
    knowing, naive = result(desk, "merging-marginal"), result(desk, "merging-naive")
    assert knowing["metrics"]["test"]["f1"] > naive["metrics"]["test"]["f1"] + 0.05
    validation = knowing["metrics"]["validation"]
    assert list(validation["corpora"]) == ["vd", "vg"] and list(validation["corpora"]["vg"]["types"]) == ["Gene"]
    assert validation["macro_f1"] == pytest.approx(sum(own["f1"] for own in validation["corpora"].values()) / 2)
    assert "corpora" not in knowing["metrics"]["test"] and "all types" in table
    lines = [json.loads(line) for line in (desk.folder / "merging-marginal" / "metrics.jsonl").read_text().splitlines()]
    scored = {line["step"]: line["macro_f1"] for line in lines if line["split"] == "validation"}
    assert len(scored) == 5 and scored[knowing["best_step"]] == max(scored.values())
    # Transfer: a finished run's model is where the next one starts; an unfinished one's is refused.
    train(desk, "merging-after", "model={after: merging-marginal}", "train.epochs=1", "train.learning_rate=1e-6")
    assert result(desk, "merging-after")["metrics"]["test"]["f1"] == knowing["metrics"]["test"]["f1"]
    said = desk.run("plan", "merging/merged.yaml", "model={after: merging}")
    assert said.code == 2 and "the run to go on from is not finished" in said.text


def scored(folder: Path, records: list[Any]) -> dict[str, float]:
    """F1 by type of what the run `merging-tagged` says of sentences."""
    said = Tagger(RunFolder(folder / "merging-tagged"), "cpu").tag(records)
    scores = {}
    for kind in ("Disease", "Gene"):
        gold, found = (
            [{each for each in one.entities if each.type == kind} for one in sentences] for sentences in (records, said)
        )
        right = sum(len(one & other) for one, other in zip(gold, found, strict=True))
        scores[kind] = 2 * right / max(1, sum(map(len, gold)) + sum(map(len, found)))
    return scores


def test_types_that_no_corpus_annotates_together_are_asked_for_in_turn(
    desk: Any, corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes train and score, one evaluates, two predict: all say the same, and both types are found. Asked for
    both at once, by a marker that was never trained, the same model is lost."""
    train(desk, "merging-tagged", "data.merge=tagged", "train.epochs=3", nproc=2)
    metrics = result(desk, "merging-tagged")["metrics"]
    test = metrics["test"]
    assert all(test["types"][kind]["f1"] > 0.6 for kind in ("Disease", "Gene"))
    assert all(own["f1"] > 0.6 for own in metrics["validation"]["corpora"].values())
    said = desk.run("evaluate", "merging-tagged", "--json")
    assert said.code == 0, said.text
    again = json.loads(said.out)["merging-tagged"]["test"]
    assert [again[name] for name in ("precision", "recall", "f1")] == [
        test[name] for name in ("precision", "recall", "f1")
    ]
    said = desk.run("predict", "merging-tagged", "merging/test.tsv", "--out", "said.tsv", "--nproc", "2")
    assert said.code == 0, said.text
    gold, found = (list(Reading(Source(desk.folder / name))) for name in ("merging/test.tsv", "said.tsv"))
    right = sum(len({*one.entities} & {*other.entities}) for one, other in zip(gold, found, strict=True))
    counts = [sum(len(each.entities) for each in records) for records in (found, gold)]
    assert [right / count for count in counts] == pytest.approx([test["precision"], test["recall"]])
    # The sabotage: one marker for all types.
    in_turn = scored(desk.folder, gold)
    assert in_turn == pytest.approx({kind: test["types"][kind]["f1"] for kind in in_turn})
    for module in (views, choice):
        monkeypatch.setattr(module, "asked_views", lambda data: (data.labels,))
    at_once = scored(desk.folder, gold)
    assert min(at_once.values()) < 0.3 and sum(at_once.values()) < sum(in_turn.values()) - 0.5


def test_passes_are_not_taken_for_windows_of_long_sentences(desk: Any, corpora: Path) -> None:
    recipe = corpora / "merged.yaml"
    recipe.write_text(recipe.read_text().replace("merge: marginal", "merge: tagged"))
    said = desk.run("data", "check", "--recipe", "merging/merged.yaml", "--json")
    assert said.code == 0, said.text
    found = json.loads(said.out)["windows"]
    assert [(found[split]["several"], found[split]["windows"]) for split in ("validation", "test")] == [
        (0, 160),
        (0, 160),
    ]


def test_the_corpora_in_one_file(desk: Any, corpora: Path) -> None:
    said = desk.run("data", "merge", "merging/merged.yaml", "--out", "all.tsv", "--json")
    assert said.code == 0, said.text
    assert [one["sentences"] for one in json.loads(said.out)["corpora"]] == [400, 300]
    checked = desk.run("data", "check", "all.tsv", "--json")
    assert checked.code == 0 and json.loads(checked.out)["sentences"] == 700
    again = desk.run("data", "merge", "merging/merged.yaml", "--out", "all.tsv")
    assert again.code == 2 and "is there already" in again.text
