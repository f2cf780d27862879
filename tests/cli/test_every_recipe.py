"""Every recipe that comes with biodist plans, on this machine and on a cluster, over made-up files in its formats."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from biodist.cli.app import app
from biodist.config.catalogue import catalogue_folder
from biodist.config.corpora import annotated_types, entries
from biodist.config.loading import load_recipe
from biodist.config.recipe import CorpusEntry, Recipe
from biodist.plan.plan import Plan
from biodist.run.records import Result

pytestmark = pytest.mark.timeout(120)
RECIPES = sorted(path for path in catalogue_folder().rglob("*.yaml") if path.parent.name != "sweeps")
SAMPLES = 12  # of a file; more than any recipe has labels


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny BERT with positions for 512 tokens."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word", "other", "gene", "##s", "."]
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


def write_corpus(path: Path, entry: CorpusEntry, recipe: Recipe) -> None:
    """A file of made-up samples in which every label of the recipe occurs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = annotated_types(entry, recipe.data)
    labels = [own[number % len(own)] for number in range(SAMPLES)]
    back = {after: before for before, after in entry.map.items()}
    written = [back.get(label, label) for label in labels]
    match entry.format:
        case "brat":
            path.mkdir(parents=True, exist_ok=True)
            for number, label in enumerate(written):
                (path / f"{number}.txt").write_text("word gene.")
                (path / f"{number}.ann").write_text(f"T1\t{label} 5 9\tgene\n")
            return
        case "iob2":
            text = "".join(f"word\tO\ngene\tB-{label}\n.\tO\n\n" for label in written)
        case "pubmedqa":
            text = json.dumps({str(1000 + number): question(label) for number, label in enumerate(written)})
        case "jsonl":
            text = "".join(json.dumps(row(number, label, recipe)) + "\n" for number, label in enumerate(written))
        case "csv":
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(
                    [("text", "label"), *((f"word {n}", label) for n, label in enumerate(written))]
                )
            return
        case other:
            raise AssertionError(f"no made-up corpus of format {other}")
    path.write_text(text)


def finished_run(folder: Path, encoder: Path) -> Path:
    """The folder of a run that ended with the encoder as its model."""
    shutil.copytree(encoder, folder / "model")
    result = Result(status="finished", steps=1, samples_seen=1, tokens_seen=1, train_seconds=1.0, tokens_per_second=1.0)
    result.save(folder / "result.json")
    return folder


def question(label: str) -> dict[str, Any]:
    return {"QUESTION": "word gene", "CONTEXTS": ["word.", "other."], "MESHES": ["Gene"], "final_decision": label}


def row(number: int, label: str, recipe: Recipe) -> dict[str, Any]:
    if recipe.task == "nli":
        return {"sentence1": "word", "sentence2": f"other {number}", "gold_label": label, "pairID": str(number)}
    return {"text": f"word {number}", "label": [label] if recipe.data.multi_label else label}


@pytest.mark.parametrize("where", [(), ("--on", "a100x8")], ids=["here", "a100x8"])
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_plans(
    path: Path, where: tuple[str, ...], encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIODIST_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(path, check_files=False)
    for _, entry in entries(recipe.data):
        write_corpus(Path(entry.path), entry, recipe)
    given = [f"model.name={encoder}"] if recipe.model.name else []
    if recipe.model.after is not None:
        given = [f"model.after={finished_run(tmp_path / 'first-stage', encoder)}"]
    said = CliRunner().invoke(app, ["plan", str(path), *given, *where, "--json"], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    plan = Plan.model_validate_json(said.stdout)
    assert plan.recipe.name == path.stem and plan.batch.global_batch == recipe.train.global_batch
    train = plan.data.splits["train"]
    assert train.samples - train.augmented == SAMPLES * len(recipe.data.train)
    assert plan.precision == ("bf16" if recipe.train.precision == "fp16" and not where else recipe.train.precision)
    if recipe.task != "ner":
        assert plan.data.labels == recipe.data.labels
