"""The model of a plan, and what its batches must look like."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, BertConfig, PretrainedConfig, PreTrainedModel

from biodist.config.corpora import TEXT_TASKS, has_pairs
from biodist.errors import RunFailed
from biodist.plan.plan import Plan
from biodist.tasks.choice import task_of
from biodist.tasks.protocol import Task
from biodist.training.chance import seed_model
from biodist.training.collator import Collator
from biodist.training.unpadded import has_token_types, position_offset, self_check, supports_unpadded, use_unpadded

DROPOUTS = (  # what families call the dropout of hidden states, of attention and of the head
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "hidden_dropout",
    "attention_dropout",
    "dropout",
    "classifier_dropout",
    "seq_classif_dropout",
)
# On a CPU each new number of tokens makes oneDNN compile its bf16 products anew, a fifth of a step; few numbers do not.
FEW_SHAPES = 64
ProblemType = Literal["single_label_classification", "multi_label_classification"]
CLOSE = 1e-4  # logits of one probe, unpadded against padded, in fp32


def encoder_config(plan: Plan) -> PretrainedConfig:
    """The Hugging Face config of the plan's model, labels and dropout filled in."""
    labels = plan.data.labels
    naming = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    if plan.model.folder is None:
        config: PretrainedConfig = _scratch_config(plan, naming)
    else:
        config = AutoConfig.from_pretrained(plan.model.folder, local_files_only=True, **naming)
    config.problem_type = _problem_type(plan)
    if plan.recipe.model.dropout is not None:
        for name in DROPOUTS:
            if isinstance(getattr(config, name, None), float):
                setattr(config, name, plan.recipe.model.dropout)
    attention = plan.recipe.model.scratch.attention_dropout
    if plan.model.folder is None and attention is not None:
        config.attention_probs_dropout_prob = attention
    return config


def _problem_type(plan: Plan) -> ProblemType | None:
    """What transformers calls the kind of a sequence's classes: its pipelines read it from an exported folder."""
    if plan.recipe.task not in TEXT_TASKS:
        return None
    return "multi_label_classification" if plan.recipe.data.multi_label else "single_label_classification"


def _scratch_config(plan: Plan, naming: dict[str, Any]) -> BertConfig:
    size = plan.recipe.model.scratch
    return BertConfig(
        vocab_size=plan.data.vocab_size,
        hidden_size=size.hidden_size,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.intermediate_size,
        max_position_embeddings=size.max_positions,
        pad_token_id=pad_id(Path(plan.data.tokenizer)),
        **naming,
    )


def build_model(plan: Plan, task: Task) -> PreTrainedModel:
    """The encoder with its head, the same first weights on every rank, its attention as the plan says.

    Raises:
        RunFailed: the encoder's attention cannot run unpadded, or does not give the padded one's logits.
    """
    seed_model(plan.recipe.train.seed)
    model = task.build(encoder_config(plan), plan.model.folder)
    use_planned_attention(model, plan)
    if plan.recipe.model.activation_checkpointing:
        use_activation_checkpointing(model)
    return model


def use_activation_checkpointing(model: PreTrainedModel) -> None:
    """In training each layer keeps its input alone, and is computed again, dropout's random state put back, in the
    backward pass. Losses and gradients are the same to the bit.

    Without reentrance: DDP and ZeRO then see the graph they would see otherwise.

    Raises:
        RunFailed: the encoder's layers cannot do it.
    """
    if not model.supports_gradient_checkpointing:
        raise RunFailed(
            f"{type(model).__name__} cannot compute its layers again: set model.activation_checkpointing=false"
        )
    # Its name before transformers 5.23.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def use_planned_attention(model: PreTrainedModel, plan: Plan) -> None:
    """Attention over unpadded rows where the plan says so, proven on a probe; else the library's own.

    Raises:
        RunFailed: the encoder cannot run unpadded, or does not give the padded one's logits.
    """
    if plan.padding != "none":
        return
    advice = "set train.padding=batch"
    if not supports_unpadded(model):
        raise RunFailed(f"{type(model).__name__} cannot run unpadded: {advice}")
    use_unpadded(model)
    difference = self_check(model)
    if not difference < CLOSE:
        raise RunFailed(
            f"{type(model).__name__} unpadded gives other logits than padded (largest difference {difference:.2g}, "
            f"allowed {CLOSE:.0e}): {advice}"
        )


def collator_of(plan: Plan, model: PreTrainedModel) -> Collator:
    """How this model wants its batches."""
    return Collator(
        padding=plan.padding,
        pad_id=pad_id(Path(plan.data.tokenizer)),
        position_offset=position_offset(model),
        task=task_of(plan),
        token_types=has_pairs(plan.recipe) and has_token_types(model),
        round_to=FEW_SHAPES if plan.machine.device == "cpu" and plan.precision == "bf16" else 1,
    )


def pad_id(tokenizer: Path) -> int:
    """Id of the padding token of a tokenizer's folder: in a batch it is masked, so any valid id serves without one."""
    config = tokenizer / "tokenizer_config.json"
    named = json.loads(config.read_text(encoding="utf-8")).get("pad_token", "[PAD]") if config.is_file() else "[PAD]"
    token = named["content"] if isinstance(named, dict) else named
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).token_to_id(token or "[PAD]")
    return found if found is not None else 0


def export_tokenizer_config(text: str, model: PreTrainedModel) -> str:
    """The text of ``tokenizer_config.json`` beside exported weights, out of that of the data index.

    The generic tokenizer class would leave out the types of tokens, which tell an encoder the texts of a pair apart.
    """
    types = ["token_type_ids"] if has_token_types(model) else []
    named = {**json.loads(text), "model_input_names": ["input_ids", *types, "attention_mask"]}
    return json.dumps(named, indent=2, sort_keys=True) + "\n"


def export_config(model: PreTrainedModel) -> str:
    """The text of ``config.json`` beside exported weights: ours in nothing but what the model says of itself."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = "float32"
    text: str = config.to_json_string()
    return text
