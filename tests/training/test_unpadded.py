"""Unpadded rows give the losses and gradients of the padded batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForTokenClassification,
    ElectraConfig,
    ElectraForTokenClassification,
    GPT2Config,
    GPT2ForTokenClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForTokenClassification,
)

from biodist.training.batch import IGNORED, Batch, collate, forward_kwargs
from biodist.training.block_attention import block_attention
from biodist.training.dropout import BitDropout, keep_mask
from biodist.training.layout import RowLayout
from biodist.training.unpadded import (
    NAME,
    position_offset,
    row_attention,
    sdpa_blocks,
    self_check,
    supports_unpadded,
    use_unpadded,
)

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_labels": 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertForTokenClassification(BertConfig(**SIZES, max_position_embeddings=64)),
    "roberta": lambda: RobertaForTokenClassification(RobertaConfig(**SIZES, max_position_embeddings=66)),
    "electra": lambda: ElectraForTokenClassification(
        ElectraConfig(**SIZES, embedding_size=16, max_position_embeddings=64)
    ),
}
LENGTHS = {
    "ragged": [9, 3, 40, 17, 3, 1, 25, 40, 8],
    "alone": [13],
    "equal": [11, 11, 11],
    "of one token": [1, 1, 30],
}


@dataclass(frozen=True)
class Window:
    input_ids: NDArray[np.int32]
    labels: NDArray[np.int16]


def windows(lengths: list[int]) -> list[Window]:
    random = np.random.default_rng(7)
    made = []
    for length in lengths:
        labels = random.integers(0, 3, length).astype(np.int16)
        labels[1::3] = IGNORED
        made.append(Window(random.integers(5, 97, length).astype(np.int32), labels))
    return made


def model_of(family: str) -> PreTrainedModel:
    torch.manual_seed(1)
    model = FAMILIES[family]()
    for parameter in model.parameters():  # larger than at the start of training: attention that is far from even
        parameter.data.normal_(0, 0.25)
    return model.train()


def batch_of(model: nn.Module, lengths: list[int], padding: str) -> Batch:
    return collate(
        windows(lengths),
        range(len(lengths)),
        padding=padding,  # type: ignore[arg-type]
        pad_id=1,
        position_offset=position_offset(model),
    )


def loss_and_gradients(model: PreTrainedModel, batch: Batch) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    logits = model(**forward_kwargs(batch)).logits
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED)
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
    model = model_of(family)
    padded = loss_and_gradients(model, batch_of(model, lengths, "batch"))  # transformers' own attention
    use_unpadded(model)
    assert_same(loss_and_gradients(model, batch_of(model, lengths, "none")), padded, 5e-7)
    assert_same(loss_and_gradients(model, batch_of(model, lengths, "batch")), padded, 5e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sequence_does_not_see_its_neighbours(family: str) -> None:
    model = model_of(family).eval()
    use_unpadded(model)
    batch = batch_of(model, LENGTHS["ragged"], "none")
    last = batch.lengths[-1]
    changed = batch.input_ids.clone()
    changed[0, -last:] = 90
    with torch.no_grad():
        before = model(**forward_kwargs(batch)).logits[0]
        after = model(**forward_kwargs(replace(batch, input_ids=changed))).logits[0]
    assert torch.equal(before[:-last], after[:-last])
    assert not torch.allclose(before[-last:], after[-last:])


def test_positions_of_roberta_are_its_own() -> None:
    model = model_of("roberta")
    batch = batch_of(model, LENGTHS["ragged"], "batch")
    ids = torch.where(batch.attention_mask.bool(), batch.input_ids, 1)  # type: ignore[union-attr]
    own = model.roberta.embeddings.create_position_ids_from_input_ids(ids, 1)
    assert torch.equal(own[batch.attention_mask == 1], batch.position_ids[batch.attention_mask == 1])
    assert position_offset(model_of("bert")) == 0


def test_activation_checkpointing_recomputes_the_same() -> None:
    model = model_of("bert")
    use_unpadded(model)
    batch = batch_of(model, LENGTHS["ragged"], "none")
    plain = loss_and_gradients(model, batch)
    model.gradient_checkpointing_enable()
    assert_same(loss_and_gradients(model, batch), plain, 1e-7)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    torch.manual_seed(3)
    recomputed = loss_and_gradients(model, batch)
    model.gradient_checkpointing_disable()
    torch.manual_seed(3)
    assert_same(loss_and_gradients(model, batch), recomputed, 1e-7)


def test_self_check_measures_the_model() -> None:
    model = model_of("bert")
    use_unpadded(model)
    assert self_check(model) < 1e-5
    assert model.training


def test_a_broken_layout_is_found_by_self_check(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("bert")
    use_unpadded(model)
    whole = RowLayout.of([12])  # as if the two sequences were one
    monkeypatch.setattr(RowLayout, "of", classmethod(lambda cls, lengths: whole))
    assert self_check(model) > 1e-3


@pytest.mark.parametrize(
    "model",
    [
        lambda: BertForTokenClassification(BertConfig(**SIZES, is_decoder=True)),
        lambda: GPT2ForTokenClassification(GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=4, n_positions=64)),
    ],
    ids=["bert", "gpt2"],
)
def test_a_decoder_is_refused(model: Callable[[], PreTrainedModel]) -> None:
    decoder = model()
    assert not supports_unpadded(decoder)
    with pytest.raises(ValueError, match=r"train\.padding=batch"):
        use_unpadded(decoder)
    assert decoder.config._attn_implementation != NAME


def test_a_causal_layer_is_refused_a_row() -> None:
    layer = nn.Module()
    layer.is_causal = True  # type: ignore[assignment]
    q = torch.randn(1, 2, 3, 4)
    with pytest.raises(ValueError, match="causal"):
        row_attention(layer, q, q, q, None, row_layout=RowLayout.of([3]))


def test_bf16_stays_near_the_padded_batch() -> None:
    model = model_of("bert")
    for parameter in model.parameters():
        parameter.data.mul_(0.2)
    with torch.autocast("cpu", torch.bfloat16):
        padded = loss_and_gradients(model, batch_of(model, LENGTHS["ragged"], "batch"))
        use_unpadded(model)
        assert_same(loss_and_gradients(model, batch_of(model, LENGTHS["ragged"], "none")), padded, 2e-2)
    assert model.config._attn_implementation == NAME


lengths_strategy = st.lists(st.integers(1, 40), min_size=1, max_size=24)


@settings(max_examples=60, deadline=None)
@given(lengths_strategy)
def test_a_layout_finds_every_token_again(lengths: list[int]) -> None:
    layout = RowLayout.of(sorted(lengths))
    tokens = torch.arange(layout.tokens)
    assert torch.equal(tokens[layout.gather][layout.scatter], tokens)
    gather, scatter = layout.by_heads(3)
    heads = torch.arange(layout.tokens * 3)
    assert torch.equal(heads[gather][scatter], heads)
    assert sum(b.sequences for b in layout.blocks) == len(lengths)
    assert layout.boundaries.tolist() == np.cumsum([0, *sorted(lengths)]).tolist()
    for block, bias in zip(layout.blocks, layout.bias, strict=True):
        inside = layout.lengths[block.first : block.first + block.sequences]
        assert block.longest == max(inside) and block.ragged == (min(inside) < block.longest) == (bias is not None)


@settings(max_examples=25, deadline=None)
@given(lengths_strategy)
def test_both_attentions_give_what_each_sequence_alone_gives(lengths: list[int]) -> None:
    layout = RowLayout.of(sorted(lengths))
    torch.manual_seed(0)
    q, k, v, g = torch.randn(4, layout.tokens, 2, 8, dtype=torch.float32).unbind()
    inputs = [t.requires_grad_() for t in (q, k, v)]
    alone = [
        nn.functional.scaled_dot_product_attention(*(t.transpose(0, 1) for t in part), scale=0.3).transpose(0, 1)
        for part in zip(*(t.split(layout.lengths) for t in inputs), strict=True)
    ]
    expected = torch.cat(alone)
    gradients = torch.autograd.grad(expected, inputs, g)
    for attend in (block_attention, sdpa_blocks):
        got = attend(*inputs, layout, 0.3, 0.0)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
        for one, other in zip(torch.autograd.grad(got, inputs, g), gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_gradient_of_attention_with_dropout_is_that_of_its_own_forward() -> None:
    """Against finite differences, the same random state before each forward."""
    layout = RowLayout.of([2, 3, 5])
    torch.manual_seed(0)
    x = torch.randn(3, 10, 2, 4, requires_grad=True)
    direction, weight = torch.randn_like(x), torch.randn(10, 2, 4)

    def value(inputs: Tensor) -> Tensor:
        torch.manual_seed(5)
        return (block_attention(*inputs.unbind(), layout, 0.5, 0.4) * weight).double().sum()

    (gradient,) = torch.autograd.grad(value(x), x)
    step = 1e-2
    slope = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_as_many_as_it_should_everywhere(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mask = keep_mask(torch.Size((400_000,)), 0.1, dtype)
    dropped = (mask == 0).view(-1, 4).double().mean(0)  # the four elements drawn from one integer
    assert torch.all((dropped - 0.1).abs() < 0.005), dropped  # five standard deviations
    assert set(mask.unique().tolist()) == {0.0, torch.tensor(1 / 0.9, dtype=dtype).item()}
    rows = (mask == 0).view(-1, 4).double()
    assert torch.corrcoef(rows.T).fill_diagonal_(0).abs().max() < 0.02


def test_dropout_follows_the_seed_and_its_gradient_its_mask() -> None:
    layer, x = BitDropout(0.25), torch.ones(31, 7, requires_grad=True)
    torch.manual_seed(9)
    first = layer(x)
    torch.manual_seed(9)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(gradient, first)
    assert layer.eval()(x) is x


def test_windows_and_labels_follow_their_sequences() -> None:
    given_windows = windows([5, 2, 5, 3])
    batch = collate(given_windows, np.array([40, 10, 30, 20]), padding="none", pad_id=0, position_offset=2)
    assert batch.windows.tolist() == [10, 20, 40, 30]  # equal lengths keep their order
    assert batch.lengths == (2, 3, 5, 5) and batch.tokens == 15
    assert batch.position_ids[0, :5].tolist() == [2, 3, 2, 3, 4]
    assert batch.input_ids[0, 5:10].tolist() == given_windows[0].input_ids.tolist()
    assert batch.labels[0, 5:10].tolist() == given_windows[0].labels.tolist()
    padded = collate(given_windows, [40, 10, 30, 20], padding="batch", pad_id=0)
    assert padded.windows.tolist() == [40, 10, 30, 20] and padded.lengths == (5, 2, 5, 3)
    assert padded.labels[1].tolist() == [*given_windows[1].labels.tolist(), *[IGNORED] * 3]
    assert padded.attention_mask is not None and padded.attention_mask.sum(1).tolist() == [5, 2, 5, 3]


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="as many numbers"):
        collate([], [], padding="none", pad_id=0)
    with pytest.raises(ValueError, match="at least 1"):
        collate(windows([0, 3]), [0, 1], padding="none", pad_id=0)
    with pytest.raises(ValueError, match="ascending"):
        RowLayout.of([3, 2])


def test_a_row_is_filled_up_by_a_sequence_that_counts_nowhere() -> None:
    windows = [_Plain(7), _Plain(3), _Plain(12)]
    plain = collate(windows, [4, 5, 6], padding="none", pad_id=0)
    filled = collate(windows, [4, 5, 6], padding="none", pad_id=0, round_to=16)
    assert filled.input_ids.shape == (1, 32) and plain.input_ids.shape == (1, 22)
    assert filled.windows.tolist() == plain.windows.tolist() == [5, 4, 6]
    assert filled.lengths == plain.lengths and filled.tokens == 22
    assert (filled.labels != IGNORED).sum() == (plain.labels != IGNORED).sum()
    model = BertForTokenClassification(
        BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            num_labels=3,
        )
    ).eval()
    use_unpadded(model)
    targets = [model(**forward_kwargs(batch)).logits[batch.labels != IGNORED] for batch in (plain, filled)]
    torch.testing.assert_close(targets[0], targets[1], rtol=1e-6, atol=1e-6)


class _Plain:
    """A window of a given length; each token counts."""

    def __init__(self, length: int):
        self.input_ids = np.arange(1, length + 1, dtype=np.int32)
        self.labels = (np.arange(length) % 3).astype(np.int16)
