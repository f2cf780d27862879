"""A folder's trained head is taken over by name, never by number; what it lacks is drawn or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, BertConfig, BertForSequenceClassification, BertForTokenClassification, BertModel

from biodist.errors import UserError
from biodist.tasks import pretrained
from biodist.tasks.ner import EntityTask
from biodist.tasks.sequences import ClassTask

pytestmark = pytest.mark.timeout(120)

LABELS = ("entailment", "neutral", "contradiction")
SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}


def naming(labels: tuple[str, ...]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: row for row, label in enumerate(labels)}}


def trained(folder: Path, labels: tuple[str, ...], kind: Any = BertForSequenceClassification) -> Path:
    """A folder with a head of these classes; every row and bias its own."""
    torch.manual_seed(4)
    model = kind(BertConfig(**SIZES, **naming(labels)))
    for parameter in model.parameters():
        parameter.data.normal_()
    model.save_pretrained(folder)
    return folder


def renamed(folder: Path, there: Path, labels: tuple[str, ...]) -> Path:
    """The same model as another tool would export it: its classes in another order."""
    there.mkdir()
    config = json.loads((folder / "config.json").read_text())
    old = list(config["id2label"].values())
    rows = torch.tensor([[name.casefold() for name in old].index(label.casefold()) for label in labels])
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: w[rows] if name.startswith("classifier") else w for name, w in weights.items()},
        there / "model.safetensors",
        {"format": "pt"},
    )
    (there / "config.json").write_text(json.dumps({**config, **naming(labels)}))
    return there


def logits(task: Any, folder: Path, labels: tuple[str, ...]) -> torch.Tensor:
    model = task.build(AutoConfig.from_pretrained(folder, **naming(labels)), str(folder)).eval()
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(5, 17)[None]).logits
    return found


def test_another_order_gives_the_same_logits_by_name(tmp_path: Path) -> None:
    task = ClassTask("nli", LABELS, "mean")
    ours = trained(tmp_path / "ours", LABELS)
    expected = logits(task, ours, LABELS)
    for number, order in enumerate(
        [("contradiction", "entailment", "neutral"), ("NEUTRAL", "Contradiction", "entailment")]
    ):
        theirs = renamed(ours, tmp_path / f"theirs{number}", order)
        assert torch.equal(logits(task, theirs, LABELS), expected), order


def test_rows_taken_by_number_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sabotage of the test above: a head that is believed to be in our order."""
    task = ClassTask("nli", LABELS, "mean")
    ours = trained(tmp_path / "ours", LABELS)
    theirs = renamed(ours, tmp_path / "theirs", ("contradiction", "entailment", "neutral"))
    expected = logits(task, ours, LABELS)
    monkeypatch.setattr(pretrained, "matched_head", lambda head, labels: tuple(range(len(labels))))
    by_number = logits(task, theirs, LABELS)
    assert not torch.allclose(by_number, expected)
    assert by_number.argmax() != expected.argmax()


def test_tags_of_entities_go_by_name_too(tmp_path: Path) -> None:
    tags, theirs = ("O", "B-Disease", "I-Disease"), ("I-DISEASE", "B-DISEASE", "O")
    task = EntityTask(tags)
    ours = trained(tmp_path / "ours", tags, BertForTokenClassification)
    other = renamed(ours, tmp_path / "theirs", theirs)
    assert torch.equal(logits(task, other, tags), logits(task, ours, tags))


@pytest.mark.parametrize("labels", [("yes", "no", "maybe"), ("LABEL_0", "LABEL_1", "LABEL_2")])
def test_a_head_of_other_classes_is_drawn_anew_and_the_rest_kept(tmp_path: Path, labels: tuple[str, ...]) -> None:
    folder = trained(tmp_path / "folder", labels)
    weights = load_file(folder / "model.safetensors")
    task = ClassTask("nli", LABELS, "mean")
    built = []
    for _ in range(2):
        torch.manual_seed(11)
        built.append(task.build(AutoConfig.from_pretrained(folder, **naming(LABELS)), str(folder)).state_dict())
    for name, weight in built[0].items():
        assert torch.equal(weight, built[1][name]), name  # a function of the seed
        assert torch.equal(weight, weights[name]) is not name.startswith("classifier"), name
    assert built[0]["classifier.weight"].std() < 0.05 and not built[0]["classifier.bias"].any()


def test_an_encoder_without_a_pooler_or_a_head_gets_both(tmp_path: Path) -> None:
    torch.manual_seed(4)
    BertModel(BertConfig(**SIZES), add_pooling_layer=False).save_pretrained(tmp_path / "bare")
    config = AutoConfig.from_pretrained(tmp_path / "bare", **naming(LABELS))
    model = ClassTask("nli", LABELS, "mean").build(config, str(tmp_path / "bare"))
    weights = load_file(tmp_path / "bare" / "model.safetensors")
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, weights["embeddings.word_embeddings.weight"])
    assert model.bert.pooler.dense.weight.std() > 0 and model.classifier.weight.shape == (3, 16)


def test_a_folder_that_lacks_a_layer_is_refused(tmp_path: Path) -> None:
    folder = trained(tmp_path / "folder", LABELS)
    weights = load_file(folder / "model.safetensors")
    lost = [name for name in weights if ".attention.self.query." in name]
    save_file({n: w for n, w in weights.items() if n not in lost}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 2 of the encoder's weights .*attention\.self\.query\.bias the first"):
        logits(ClassTask("nli", LABELS, "mean"), folder, LABELS)
