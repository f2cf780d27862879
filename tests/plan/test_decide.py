from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.config.core import core_digest
from biodist.config.recipe import Recipe
from biodist.errors import MachineCannot, UserError
from biodist.plan.decide import decide, place
from biodist.plan.index import DataIndex
from biodist.plan.machine import Machine
from biodist.plan.plan import ModelPlan

RecipeOf = Callable[..., Recipe]


def test_a_laptop(recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine) -> None:
    recipe = recipe_of(distributed={"strategy": "zero2"})
    plan = decide(recipe, index, model, place(laptop, 2), command=("biodist", "train", "tiny"))
    assert (plan.machine.device, plan.machine.backend, plan.machine.world_size) == ("cpu", "gloo", 2)
    assert (plan.machine.threads_per_process, plan.machine.memory_gb_per_process) == (2, 8.0)
    assert (plan.batch.steps_per_epoch, plan.batch.total_steps, plan.batch.warmup_steps) == (32, 96, 10)
    assert (plan.batch.micro_batch, plan.batch.micro_batch_rule) == (16, "step")
    assert plan.batch.evaluate_every_steps == 32
    assert (plan.strategy, plan.zero_stage, plan.precision, plan.padding) == ("zero2", 2, "fp32", "none")
    assert plan.core_digest == core_digest(recipe)
    assert plan.command == ("biodist", "train", "tiny")


def test_types_that_are_asked_for_in_turn_are_said(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    def notices(merge: str) -> tuple[str, ...]:
        entries = [{"path": f"{kind}.tsv", "name": kind, "annotates": [kind]} for kind in ("Disease", "Gene")]
        recipe = recipe_of(data={"labels": ["Disease", "Gene"], "merge": merge, "train": entries})
        return decide(recipe, index, model, place(laptop)).notices

    said = "data.merge: no training corpus annotates all types, so tagged asks for them in 2 turns: evaluation and "
    assert said + "prediction take 2 times as long" in notices("tagged")
    assert not any("data.merge" in notice for notice in notices("marginal"))


def test_without_nproc(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine, gpu_node: Machine
) -> None:
    assert decide(recipe_of(), index, model, place(laptop)).machine.world_size == 1
    on_gpus = decide(recipe_of(), index, model, place(gpu_node)).machine
    assert (on_gpus.world_size, on_gpus.device, on_gpus.backend) == (4, "cuda", "nccl")
    assert (on_gpus.device_name, on_gpus.memory_gb_per_process) == ("NVIDIA H100", 80.0)
    on_cpu = decide(recipe_of(), index, model, place(gpu_node, device="cpu")).machine
    assert (on_cpu.world_size, on_cpu.device, on_cpu.device_name) == (1, "cpu", "A processor")


def test_more_processes_than_gpus_names_both(gpu_node: Machine) -> None:
    with pytest.raises(MachineCannot, match="6 processes need 6 GPUs, but node shows 4: use --nproc 4 or less"):
        place(gpu_node, 6)


def test_gpus_that_are_not_there(laptop: Machine) -> None:
    with pytest.raises(MachineCannot, match="a GPU was asked for, but laptop shows none"):
        place(laptop, device="cuda")


def test_no_process_at_all(laptop: Machine) -> None:
    with pytest.raises(UserError, match="--nproc: must be at least 1, but is 0"):
        place(laptop, 0)


def test_more_processes_than_cores_is_said(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    plan = decide(recipe_of(), index, model, place(laptop, 5))
    assert plan.machine.threads_per_process == 1
    assert any(notice.startswith("5 processes share 4 cores") for notice in plan.notices)
    fitting = decide(recipe_of(), index, model, place(laptop, 4))
    assert not any("cores" in notice for notice in fitting.notices)


def test_fp16_without_a_gpu_is_bf16_and_said(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine, gpu_node: Machine
) -> None:
    recipe = recipe_of(train={"precision": "fp16"})
    plan = decide(recipe, index, model, place(laptop))
    assert plan.precision == "bf16"
    assert plan.recipe.train.precision == "fp16"
    assert "train.precision: fp16 needs a GPU; bf16 is used instead" in plan.notices
    assert decide(recipe, index, model, place(gpu_node)).precision == "fp16"


def test_a_plan_that_is_the_recipes_has_nothing_to_say(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    assert decide(recipe_of(), index, model, place(laptop)).notices == ()


def test_a_batch_larger_than_the_corpus(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    plan = decide(recipe_of(train={"global_batch": 5000}), index, model, place(laptop))
    assert (plan.batch.steps_per_epoch, plan.batch.total_steps) == (1, 3)
    assert any("5000 is more than the 1000 training samples" in notice for notice in plan.notices)


def test_max_steps_and_steps_between_evaluations(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    recipe = recipe_of(train={"epochs": None, "max_steps": 70, "warmup_ratio": 0.33}, evaluate={"every": 25})
    batch = decide(recipe, index, model, place(laptop)).batch
    assert (batch.total_steps, batch.warmup_steps, batch.evaluate_every_steps) == (70, 24, 25)


def test_what_does_not_go_together_all_at_once(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    odd = index.model_copy(update={"vocab_size": 1001, "splits": {}})
    with pytest.raises(UserError) as caught:
        decide(recipe_of(data={"max_length": 513}), odd, model, place(laptop))
    said = [str(problem) for problem in caught.value.problems]
    assert said == [
        "data.max_length: is 513, but /models/tiny has positions for 512 tokens (set data.max_length=512 or less)",
        "/models/tiny: its tokenizer has 1001 tokens, but its embeddings only 1000 "
        "(take tokenizer and weights from the same source)",
        "data.train: the training files hold no sample (give files with sentences)",
    ]


def test_a_model_that_does_not_fit(recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine) -> None:
    small = laptop.model_copy(update={"memory": 4 * 10**6})
    with pytest.raises(MachineCannot) as caught:
        decide(recipe_of(), index, model, place(small, 2))
    said = str(caught.value)
    assert "under ddp on 2 processes, with micro-batches of 1 window, a process takes" in said
    assert said.endswith("but has 2.0 MB: nothing fits here: use a larger machine")


def test_what_does_not_fit_names_the_cheapest_that_does(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, gpu_node: Machine
) -> None:
    """A model of 1.2 thousand million parameters: 16 bytes each are too many for one GPU of 16 GB, a quarter is not."""
    shape = model.shape.model_copy(update={"parameters": 1_200_000_000, "layer_parameters": 25_000_000, "layers": 48})
    gpus = tuple(gpu.model_copy(update={"memory": 16 * 10**9}) for gpu in gpu_node.gpus)
    where = place(gpu_node.model_copy(update={"gpus": gpus}))
    with pytest.raises(MachineCannot) as caught:
        decide(recipe_of(), index, model.model_copy(update={"shape": shape}), where)
    cheapest = str(caught.value).rpartition("the cheapest that fits, with ")[2]
    overrides = dict(setting.split("=") for setting in cheapest.split(": ")[1].split())
    assert overrides["distributed.strategy"] != "ddp"
    fitting = recipe_of(
        model={"activation_checkpointing": overrides["model.activation_checkpointing"] == "true"},
        distributed={
            "strategy": overrides["distributed.strategy"],
            "offload": overrides["distributed.offload"],
        },
    )
    plan = decide(fitting, index, model.model_copy(update={"shape": shape}), where)
    assert plan.memory.total <= 0.9 * 16 * 10**9
    assert next(choice for choice in plan.choices if choice.fits).overrides == plan.setting.overrides


def test_little_memory_makes_small_micro_batches(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    beside = decide(recipe_of(), index, model, place(laptop)).memory.beside_activations
    tight = laptop.model_copy(update={"memory": (beside + 12_000_000) * 4 // 3})
    plan = decide(recipe_of(), index, model, place(tight))
    assert plan.batch.micro_batch_rule == "memory"
    assert 1 <= plan.batch.micro_batch < 32
    room = 0.75 * 10**9 * plan.machine.memory_gb_per_process
    assert plan.memory.total <= room
    larger = recipe_of(train={"micro_batch": plan.batch.micro_batch + 1})
    assert decide(larger, index, model, place(tight)).memory.total > room
    starved = decide(recipe_of(), index, model, place(laptop.model_copy(update={"memory": plan.memory.total})))
    assert starved.batch.micro_batch < plan.batch.micro_batch


def test_a_plan_that_fills_the_memory_says_so(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    recipe = recipe_of(train={"micro_batch": 16})
    total = decide(recipe, index, model, place(laptop)).memory.total
    narrow = decide(recipe, index, model, place(laptop.model_copy(update={"memory": total + 10**6})))
    assert any("fill at most 75%" in notice and "runs out of memory" in notice for notice in narrow.notices)
    with pytest.raises(MachineCannot, match=r"micro-batches of 16 windows, .* set train.micro_batch=auto, or"):
        decide(recipe, index, model, place(laptop.model_copy(update={"memory": total - 10**6})))


def test_a_processor_takes_no_more_than_its_token_budget(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine, gpu_node: Machine
) -> None:
    recipe = recipe_of(train={"global_batch": 1000})
    on_cpu = decide(recipe, index, model, place(laptop)).batch
    assert (on_cpu.micro_batch, on_cpu.micro_batch_rule) == (4096 // 36, "tokens")  # windows have 36 tokens on average
    on_gpu = decide(recipe, index, model, place(gpu_node, 1)).batch
    assert (on_gpu.micro_batch, on_gpu.micro_batch_rule) == (1000, "step")


def test_the_recipes_micro_batch_stands(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    batch = decide(recipe_of(train={"micro_batch": 7}), index, model, place(laptop)).batch
    assert (batch.micro_batch, batch.micro_batch_rule) == (7, "recipe")


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 10**6),
    global_batch=st.integers(1, 5000),
    epochs=st.integers(1, 50),
    ratio=st.floats(0, 1),
    nproc=st.integers(1, 64),
    other=st.integers(1, 64),
)
def test_steps_do_not_depend_on_the_machine(
    samples: int, global_batch: int, epochs: int, ratio: float, nproc: int, other: int
) -> None:
    recipe, index, model, machine = _case(samples, global_batch, epochs, ratio)
    one, two = (decide(recipe, index, model, place(machine, n)).batch for n in (nproc, other))
    assert one.steps_per_epoch == math.ceil(samples / global_batch)
    assert one.total_steps == epochs * one.steps_per_epoch
    assert 0 <= one.warmup_steps <= one.total_steps
    assert 1 <= one.micro_batch <= max(1, math.ceil(min(global_batch, samples) / nproc))
    fields = ("global_batch", "steps_per_epoch", "total_steps", "warmup_steps", "evaluate_every_steps")
    assert [getattr(one, name) for name in fields] == [getattr(two, name) for name in fields]


def _case(samples: int, global_batch: int, epochs: int, ratio: float) -> tuple[Recipe, DataIndex, ModelPlan, Machine]:
    from biodist.plan.index import SplitIndex
    from biodist.plan.shape import scratch_shape

    recipe = Recipe.model_validate(
        {
            "name": "drawn",
            "task": "ner",
            "model": {"init": "scratch"},
            "data": {"labels": ["Disease"], "train": [{"path": "/data/train.tsv"}]},
            "train": {"epochs": epochs, "global_batch": global_batch, "warmup_ratio": ratio},
        }
    )
    train = SplitIndex(
        samples=samples, windows=samples, tokens=30 * samples, targets=samples, lengths={30: samples}, types={}
    )
    index = DataIndex(fingerprint="f", store="s", tokenizer="t", labels=("O",), vocab_size=100, splits={"train": train})
    model = ModelPlan(folder=None, shape=scratch_shape(recipe.model.scratch, 100, 1))
    return recipe, index, model, Machine(host="h", processor="p", cores=2, memory=10**11)


def test_the_warm_up_is_rounded_as_the_trainer_rounds_it(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    from transformers import TrainingArguments

    for ratio in (0.0, 0.06, 0.1, 0.3, 1 / 3, 0.999):
        batch = decide(recipe_of(train={"warmup_ratio": ratio}), index, model, place(laptop)).batch
        theirs = TrainingArguments(warmup_steps=ratio, use_cpu=True).get_warmup_steps(batch.total_steps)
        assert batch.warmup_steps == theirs
