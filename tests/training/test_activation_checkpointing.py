"""Layers computed again in the backward pass: the same losses and weights to the bit, and less kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import BertConfig, BertForTokenClassification

from biodist.checkpoint.reading import checkpoints_in
from biodist.errors import RunFailed
from biodist.plan.plan import Plan
from biodist.training.batch import collate, forward_kwargs
from biodist.training.encoder import use_activation_checkpointing
from biodist.training.unpadded import use_unpadded

END = 4
STRATEGIES = ("ddp", "zero1", "zero2", "zero3")
LAYERS = 4


@pytest.mark.parametrize("how", [{"padding": "none"}, {"padding": "batch", "precision": "bf16"}], ids=["rows", "bf16"])
def test_nothing_but_memory_changes(
    plans: Callable[..., Plan], run_jobs: Callable[..., Any], tmp_path: Path, how: dict[str, Any]
) -> None:
    """Two processes, dropout on, several micro-batches a step."""
    jobs = [
        {
            "name": f"{strategy}-{again}",
            "plan": plans(2, strategy=strategy, activation_checkpointing=again, dropout=0.1, **how),
            "until": END,
            "saves": {str(END): str(tmp_path / f"{strategy}-{again}")},
        }
        for strategy in STRATEGIES
        for again in (False, True)
    ]
    said = run_jobs(jobs)
    for strategy in STRATEGIES:
        plain, again = said[f"{strategy}-False"], said[f"{strategy}-True"]
        assert plain["error"] is None and len(plain["losses"]) == END
        assert again == plain
        (one,), (other,) = (checkpoints_in(tmp_path / f"{strategy}-{which}") for which in (False, True))
        assert one.weights_sha256() == other.weights_sha256()


@dataclass(frozen=True)
class Sequence:
    input_ids: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return np.zeros(len(self.input_ids), np.int16)


def model_with(dropout: float = 0.1) -> BertForTokenClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=128,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    model = BertForTokenClassification(config).train()
    use_unpadded(model)
    return model


def backward(model: BertForTokenClassification) -> tuple[int, list[torch.Tensor]]:
    """Bytes that the forward pass kept for the backward pass, and the gradients."""
    row = collate([Sequence(np.arange(n, dtype=np.int32)) for n in (5, 11, 30)], [0, 1, 2], padding="none", pad_id=0)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(7)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(**forward_kwargs(row)).logits.square().mean()
    loss.backward()
    return sum(kept.values()), [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_a_layer_keeps_its_input_alone() -> None:
    plain, again = model_with(), model_with()
    use_activation_checkpointing(again)
    kept_plain, gradients = backward(plain)
    kept_again, others = backward(again)
    assert kept_again < kept_plain / 4
    assert all(torch.equal(one, other) for one, other in zip(gradients, others, strict=True))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the older name, which every version in range has
def test_another_random_state_in_the_backward_pass_is_found_out() -> None:
    """What the comparison above is worth: masks drawn anew give other gradients, and none without dropout."""
    for dropout, same in ((0.1, False), (0.0, True)):
        plain, again = model_with(dropout), model_with(dropout)
        again.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        pairs = zip(backward(plain)[1], backward(again)[1], strict=True)
        assert all(torch.equal(one, other) for one, other in pairs) is same


def test_an_encoder_that_cannot_is_refused() -> None:
    model = model_with()
    model.supports_gradient_checkpointing = False
    with pytest.raises(RunFailed, match=r"BertForTokenClassification.*model.activation_checkpointing=false"):
        use_activation_checkpointing(model)
