"""Heads that say something of whole sequences: an unpadded row gives what the padded batch gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    CamembertConfig,
    CamembertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from biodist.plan.shape import FAMILIES as SHAPES
from biodist.tasks.protocol import IGNORED, SequenceTargets
from biodist.tasks.sequences import ClassSetTask, ClassTask
from biodist.training.batch import Batch, collate, forward_kwargs
from biodist.training.encoder import use_activation_checkpointing
from biodist.training.layout import RowLayout
from biodist.training.unpadded import has_token_types, position_offset, self_check, supports_unpadded, use_unpadded

pytestmark = pytest.mark.timeout(120)

CLASSES = ("entailment", "neutral", "contradiction")
SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_labels": len(CLASSES),
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
DISTIL = {
    "vocab_size": 97,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "num_labels": len(CLASSES),
    **dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), 0.0),
}
ROBERTA = {**SIZES, "max_position_embeddings": 66, "type_vocab_size": 1}
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SIZES, max_position_embeddings=64)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**ROBERTA)),
    "xlm-roberta": lambda: XLMRobertaForSequenceClassification(XLMRobertaConfig(**ROBERTA)),
    "camembert": lambda: CamembertForSequenceClassification(CamembertConfig(**ROBERTA)),
    "electra": lambda: ElectraForSequenceClassification(
        ElectraConfig(**SIZES, embedding_size=16, max_position_embeddings=64)
    ),
    "distilbert": lambda: DistilBertForSequenceClassification(DistilBertConfig(**DISTIL, max_position_embeddings=64)),
}
LENGTHS = {
    "ragged": [9, 3, 40, 17, 3, 25, 40, 8],
    "alone": [13],
    "equal": [11, 11, 11],
    "of one token": [1, 1, 30],
}


@dataclass(frozen=True)
class Window:
    """A window of a text, or of a pair whose second text begins at ``second``."""

    input_ids: NDArray[np.int32]
    second: int

    @property
    def labels(self) -> NDArray[np.int16]:
        return np.full(len(self.input_ids), IGNORED, np.int16)


def model_of(family: str) -> PreTrainedModel:
    torch.manual_seed(1)
    model = FAMILIES[family]()
    for parameter in model.parameters():  # larger than at the start of training: attention that is far from even
        parameter.data.normal_(0, 0.25)
    return model.train()


def sizes_behind_the_last_attention(model: PreTrainedModel, batch: Batch) -> list[int]:
    """Tokens that the last layer's second norm takes."""
    norms = [module for module in model.base_model.modules() if isinstance(module, nn.LayerNorm)]
    seen: list[int] = []
    hook = norms[-1].register_forward_hook(lambda module, args, output: seen.append(output.shape[:2].numel()))
    with torch.no_grad():
        model(**forward_kwargs(batch))
    hook.remove()
    return seen


def targets_of(count: int, sets: bool) -> SequenceTargets:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, (count, len(CLASSES))) if sets else random.integers(0, len(CLASSES), count)
    return SequenceTargets(labels, random.choice([1, 0.5, 0.25], count).astype(np.float32))


def batch_of(
    model: nn.Module, lengths: list[int], padding: str, pairs: bool = False, round_to: int = 1, sets: bool = False
) -> Batch:
    random = np.random.default_rng(7)
    windows = [
        Window(random.integers(5, 97, length).astype(np.int32), length // 2 if pairs else length) for length in lengths
    ]
    types = [(np.arange(len(w.input_ids)) >= w.second).astype(np.int8) for w in windows]
    return collate(
        windows,
        range(len(lengths)),
        padding=padding,  # type: ignore[arg-type]
        pad_id=1,
        position_offset=position_offset(model),
        token_types=types if has_token_types(model) else None,
        round_to=round_to,
        targets=targets_of(len(lengths), sets),
    )


def loss_and_gradients(
    model: PreTrainedModel, batch: Batch, task: ClassTask | ClassSetTask
) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    logits = model(**forward_kwargs(batch)).logits
    loss = task.loss_sum(logits, batch.labels, batch.weights)
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(one: tuple[float, dict[str, Tensor]], other: tuple[float, dict[str, Tensor]], relative: float) -> None:
    assert one[0] == pytest.approx(other[0], rel=relative)
    assert one[1].keys() == other[1].keys()
    whole = torch.cat([g.flatten() for g in other[1].values()]).norm()
    for name, gradient in other[1].items():
        assert (one[1][name] - gradient).norm() <= relative * whole, name


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_those_of_the_padded_batch(family: str, lengths: list[int]) -> None:
    """Texts and pairs, one class and sets of them, with and without a sequence of padding at the row's end."""
    model = model_of(family)
    assert supports_unpadded(model)
    one, sets = ClassTask("nli", CLASSES, "mean"), ClassSetTask("classification", CLASSES, "mean")
    cases = [(False, one), (True, one), (True, sets)]
    padded = [  # transformers' own attention
        loss_and_gradients(model, batch_of(model, lengths, "batch", pairs, sets=task is sets), task)
        for pairs, task in cases
    ]
    use_unpadded(model)
    for (pairs, task), expected in zip(cases, padded, strict=True):
        for padding, round_to in (("none", 1), ("none", 16), ("batch", 1)):
            batch = batch_of(model, lengths, padding, pairs, round_to, sets=task is sets)
            assert_same(loss_and_gradients(model, batch, task), expected, 1e-6)
    if has_token_types(model) and max(lengths) > 1:
        assert padded[0][0] != pytest.approx(padded[1][0], rel=1e-4)  # where the second text begins is seen


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_targets_are_in_the_rows_order(family: str) -> None:
    """By window number, whatever the order and a filler in between: sabotage by exchanging two windows is seen."""
    model = model_of(family).eval()
    use_unpadded(model)
    lengths = LENGTHS["ragged"]
    padded, row = batch_of(model, lengths, "batch"), batch_of(model, lengths, "none", round_to=16)
    assert row.layout is not None and row.weights is not None and padded.weights is not None
    assert len(row.layout.lengths) == len(lengths) + 1 == len(row.labels)
    real = row.weights > 0
    assert real.sum() == len(lengths) and row.labels[~real].tolist() == [IGNORED]
    with torch.no_grad():
        expected = model(**forward_kwargs(padded)).logits[row.windows]
        got = model(**forward_kwargs(row)).logits
    assert got.shape == (len(lengths) + 1, len(CLASSES))
    torch.testing.assert_close(got[real], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(row.labels[real], padded.labels[row.windows])
    assert torch.equal(row.weights[real], padded.weights[row.windows])
    task = ClassTask("nli", CLASSES, "mean")
    said = task.predictions(got, row.labels, [])
    assert np.array_equal(np.stack(said), got[real].numpy())
    exchanged = row.windows[[1, 0, *range(2, len(lengths))]]
    assert not torch.allclose(model(**forward_kwargs(padded)).logits[exchanged], expected, atol=1e-3)


def test_labels_of_sets_and_their_filler() -> None:
    model = model_of("bert")
    batch = batch_of(model, [5, 3], "none", round_to=16, sets=True)
    given = targets_of(2, sets=True)
    assert batch.weights is not None
    assert batch.labels.tolist() == [given.labels[1].tolist(), given.labels[0].tolist(), [IGNORED] * 3]
    assert batch.weights.tolist() == [given.weights[1], given.weights[0], 0.0]
    logits = torch.randn(3, 3)
    task = ClassSetTask("classification", CLASSES, "mean")
    loss = task.loss_sum(logits, batch.labels, batch.weights)
    assert len(task.predictions(logits, batch.labels, [])) == 2
    logits[2] += 5  # the filler counts nowhere
    assert task.loss_sum(logits, batch.labels, batch.weights) == loss


@pytest.mark.parametrize("family", FAMILIES)
def test_self_check_measures_sequences_and_a_broken_row(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(family)
    use_unpadded(model)
    use_unpadded(model)  # harmless twice
    assert self_check(model) < 1e-4
    assert model.training
    whole = RowLayout.of([5, 7])
    shifted = replace(whole, boundaries=whole.boundaries + torch.tensor([0, 1, 0], dtype=torch.int32))
    monkeypatch.setattr(RowLayout, "of", classmethod(lambda cls, lengths: shifted))  # each but the first a token late
    assert self_check(model) > 1e-3


def test_a_family_without_a_known_stack_is_refused() -> None:
    model: Any = model_of("bert")
    model.bert.layers = model.bert.encoder
    del model.bert.encoder
    assert not supports_unpadded(model)
    with pytest.raises(ValueError, match=r"train\.padding=batch"):
        use_unpadded(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_activation_checkpointing_recomputes_the_same(family: str) -> None:
    model, task = model_of(family), ClassTask("nli", CLASSES, "mean")
    use_unpadded(model)
    batch = batch_of(model, LENGTHS["ragged"], "none")
    plain = loss_and_gradients(model, batch, task)
    use_activation_checkpointing(model)
    assert_same(loss_and_gradients(model, batch, task), plain, 1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_first_tokens_alone_leave_the_last_attention_where_the_plan_counts_on_it(family: str) -> None:
    model, lengths = model_of(family), LENGTHS["ragged"]
    use_unpadded(model)
    use_unpadded(model)  # once is enough
    tokens = len(lengths) if SHAPES[family].narrows else sum(lengths)
    assert sizes_behind_the_last_attention(model, batch_of(model, lengths, "none")) == [tokens]
    assert sizes_behind_the_last_attention(model, batch_of(model, lengths, "batch")) == [len(lengths) * max(lengths)]
