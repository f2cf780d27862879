"""Two corpora that annotate different types, from the command line: merged knowingly, naively, and gone on from."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

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


def train(desk: Any, run: str, *overrides: str) -> str:
    said = desk.run("train", "merging/merged.yaml", *overrides, "--run", run, "--device", "cpu", "--nproc", "1")
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


def test_the_corpora_in_one_file(desk: Any, corpora: Path) -> None:
    said = desk.run("data", "merge", "merging/merged.yaml", "--out", "all.tsv", "--json")
    assert said.code == 0, said.text
    assert [one["sentences"] for one in json.loads(said.out)["corpora"]] == [400, 300]
    checked = desk.run("data", "check", "all.tsv", "--json")
    assert checked.code == 0 and json.loads(checked.out)["sentences"] == 700
    again = desk.run("data", "merge", "merging/merged.yaml", "--out", "all.tsv")
    assert again.code == 2 and "is there already" in again.text
