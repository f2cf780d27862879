"""Recipe + data index + encoder + machine or profile -> plan. Pure: reads nothing, starts nothing."""

from __future__ import annotations

from typing import Any, Literal

from biodist.config.core import core_digest
from biodist.config.corpora import asked_views
from biodist.config.profile import Profile
from biodist.config.recipe import Recipe
from biodist.errors import MachineCannot, Problem, UserError
from biodist.plan.amounts import count_of, size_of
from biodist.plan.batch import batch_plan
from biodist.plan.deepspeed import deepspeed_configuration
from biodist.plan.fit import FILL, Ground
from biodist.plan.head import matched_head
from biodist.plan.index import DataIndex
from biodist.plan.machine import Machine
from biodist.plan.memory import disk_plan
from biodist.plan.plan import Choice, MachinePlan, MemoryPlan, ModelPlan, Plan, Precision, Setting, Strategy, setting_of

Device = Literal["auto", "cpu", "cuda"]
ZERO_STAGES: dict[Strategy, int] = {"ddp": 0, "zero1": 1, "zero2": 2, "zero3": 3}
BF16_CAPABILITY = 8.0  # GPUs below it emulate bf16


def decide(
    recipe: Recipe,
    index: DataIndex,
    model: ModelPlan,
    where: MachinePlan,
    command: tuple[str, ...] = (),
    profile: Profile | None = None,
) -> Plan:
    """The plan of a recipe at a place: the same arguments, the same plan.

    ``where`` comes from `place` on one's own machine, from `place_on` on a cluster; then ``profile`` is the cluster's.

    Raises:
        UserError: recipe, corpora and encoder do not go together; every problem at once.
        MachineCannot: it does not fit into memory; with the cheapest way that does.
    """
    problems = mismatches(recipe, index, model)
    if problems:
        raise UserError(problems)
    precision, strategy, train = _precision(recipe, where), recipe.distributed.strategy, index.splits["train"]
    ground = Ground(recipe, train, model.shape, where, precision)
    choices = tuple(ground.choices())
    setting = setting_of(recipe)
    micro_batch, rule = ground.micro_batch(setting)
    memory = ground.memory(setting, micro_batch)
    if memory.total > ground.capacity:
        raise MachineCannot(_no_room(memory, ground, setting, micro_batch, choices, profile))
    batch, stage = batch_plan(recipe, train, micro_batch, rule), ZERO_STAGES[strategy]
    return Plan(
        recipe=recipe,
        core_digest=core_digest(recipe),
        data=index,
        model=model,
        machine=where,
        batch=batch,
        precision=precision,
        padding=recipe.train.padding,
        strategy=strategy,
        zero_stage=stage,
        deepspeed=_deepspeed(recipe, ground, stage, micro_batch),
        memory=memory,
        choices=choices,
        disk=disk_plan(model.shape, recipe.checkpoint, batch.total_steps, best="validation" in index.splits),
        command=command,
        notices=_notices(recipe, index, model, where, memory, profile),
        profile=profile,
    )


def _deepspeed(recipe: Recipe, ground: Ground, stage: int, micro_batch: int) -> dict[str, Any] | None:
    if not stage:
        return None
    world_size = ground.where.world_size
    return deepspeed_configuration(
        recipe, stage, world_size, micro_batch, ground.precision, ground.shape, ground.buckets
    )


def mismatches(recipe: Recipe, index: DataIndex, model: ModelPlan) -> list[Problem]:
    """Where recipe, corpora and encoder do not go together."""
    problems = []
    shape, encoder = model.shape, model.folder or "the model of model.scratch"
    if recipe.data.max_length > shape.max_positions:
        what = f"is {recipe.data.max_length}, but {encoder} has positions for {shape.max_positions} tokens"
        problems.append(Problem("data.max_length", what, f"set data.max_length={shape.max_positions} or less"))
    if index.vocab_size > shape.vocab_size:
        what = f"its tokenizer has {index.vocab_size} tokens, but its embeddings only {shape.vocab_size}"
        problems.append(Problem(encoder, what, "take tokenizer and weights from the same source"))
    if recipe.train.epochs is None and recipe.train.max_steps is None:
        problems.append(Problem("train", "neither epochs nor max_steps is there", "set train.epochs"))
    train = index.splits.get("train")
    if train is None or train.samples < 1 or train.windows < 1:
        problems.append(Problem("data.train", "the training files hold no sample", "give files with sentences"))
    return problems


def place(machine: Machine, nproc: int | None = None, device: Device = "auto") -> MachinePlan:
    """How many processes run where on one machine.

    Raises:
        UserError: ``nproc`` is below 1.
        MachineCannot: more processes than GPUs, or GPUs that are not there.
    """
    _refuse_less_than_one({"--nproc": nproc})
    if device == "cuda" and not machine.gpus:
        raise MachineCannot(
            f"a GPU was asked for, but {machine.host} shows none (nvidia-smi, CUDA_VISIBLE_DEVICES): "
            "leave out --device cuda to train on the CPU, or go to a machine with GPUs"
        )
    gpus = machine.gpus if device != "cpu" else ()
    processes = nproc or max(1, len(gpus))
    if gpus and processes > len(gpus):
        raise MachineCannot(
            f"{processes} processes need {processes} GPUs, but {machine.host} shows {len(gpus)}: "
            f"use --nproc {len(gpus)} or less, or --device cpu"
        )
    used = gpus[:processes]
    return MachinePlan(
        device="cuda" if used else "cpu",
        backend="nccl" if used else "gloo",
        world_size=processes,
        nodes=1,
        processes_per_node=processes,
        threads_per_process=max(1, machine.cores // processes),
        memory_gb_per_process=round(min((gpu.memory for gpu in used), default=machine.memory // processes) / 10**9, 3),
        device_name=used[0].name if used else machine.processor,
        cores_per_node=machine.cores,
        compute_capability=min((gpu.compute_capability for gpu in used), default=None),
        host_gb_per_process=round(machine.memory / processes / 10**9, 3) if used else None,
    )


def place_on(profile: Profile, nodes: int | None = None, nproc: int | None = None) -> MachinePlan:
    """How many processes run where on a profile's cluster.

    ``nodes`` and ``nproc`` (processes on each node) take the place of the profile's own numbers.

    Raises:
        UserError: ``nodes`` or ``nproc`` is below 1; both at once.
        MachineCannot: more processes on a node than it has GPUs.
    """
    _refuse_less_than_one({"--nodes": nodes, "--nproc": nproc})
    nodes, processes, device = nodes or profile.nodes, nproc or profile.processes, profile.trains_on
    if device == "cuda" and processes > profile.gpus_per_node:
        raise MachineCannot(
            f"{processes} processes a node need {processes} GPUs, but a node of profile {profile.name} has "
            f"{profile.gpus_per_node}: use --nproc {profile.gpus_per_node} or less, and more --nodes"
        )
    memory_gb = profile.memory_gb / processes if device == "cpu" else profile.gpu_memory_gb
    assert memory_gb is not None, "the profile's rules want the memory of a GPU that is trained on"
    return MachinePlan(
        device=device,
        backend="nccl" if device == "cuda" else "gloo",
        world_size=nodes * processes,
        nodes=nodes,
        processes_per_node=processes,
        threads_per_process=profile.cpus_per_process,
        memory_gb_per_process=round(memory_gb, 3),
        device_name=(profile.gpu_name if device == "cuda" else None) or f"{device.upper()}s of {profile.name}",
        cores_per_node=processes * profile.cpus_per_process,
        compute_capability=profile.gpu_compute_capability if device == "cuda" else None,
        network_interface=profile.network_interface,
        host_gb_per_process=round(profile.memory_gb / processes, 3) if device == "cuda" else None,
    )


def _refuse_less_than_one(options: dict[str, int | None]) -> None:
    problems = [
        Problem(name, f"must be at least 1, but is {number}", "leave it out to use what is there")
        for name, number in options.items()
        if number is not None and number < 1
    ]
    if problems:
        raise UserError(problems)


def _precision(recipe: Recipe, where: MachinePlan) -> Precision:
    """fp16 needs a GPU; bf16 takes its place elsewhere."""
    wanted = recipe.train.precision
    return "bf16" if wanted == "fp16" and where.device == "cpu" else wanted


def _no_room(
    memory: MemoryPlan,
    ground: Ground,
    setting: Setting,
    micro_batch: int,
    choices: tuple[Choice, ...],
    profile: Profile | None,
) -> str:
    """What it takes, and the cheapest way that fits."""
    cheapest = next((choice for choice in choices if choice.fits), None)
    larger = "a larger machine" if profile is None else "more or larger nodes, or GPUs with more memory"
    windows = f"micro-batches of {count_of(micro_batch, 'window', 'windows')}"
    advice = f"nothing fits here: use {larger}"
    if cheapest is not None:
        advice = f"the cheapest that fits, with {size_of(cheapest.memory.total)}: {' '.join(cheapest.overrides)}"
    elif ground.recipe.train.micro_batch not in ("auto", 1):
        advice = f"set train.micro_batch=auto, or use {larger}"
    processes = count_of(ground.where.world_size, "process", "processes")
    return (
        f"under {setting.name} on {processes}, with {windows}, a process takes {size_of(memory.total)} "
        f"({', '.join(f'{name} {size_of(size)}' for name, size in memory.parts.items() if size)}), but has "
        f"{size_of(ground.capacity)}: {advice}"
    )


def _notices(
    recipe: Recipe,
    index: DataIndex,
    model: ModelPlan,
    where: MachinePlan,
    memory: MemoryPlan,
    profile: Profile | None,
) -> tuple[str, ...]:
    """What differs from what the recipe says, or deserves a look; by which rule."""
    notices, train = _head_notices(model, index), index.splits["train"]
    wanted, capacity = recipe.train.precision, int(where.memory_gb_per_process * 10**9)
    if wanted == "fp16" and where.device == "cpu":
        notices.append("train.precision: fp16 needs a GPU; bf16 is used instead")
    if wanted == "bf16" and where.compute_capability is not None and where.compute_capability < BF16_CAPABILITY:
        notices.append(f"train.precision: {where.device_name} has no bf16 of its own and is slow at it; fp16 is faster")
    processes, cores = where.processes_per_node, where.cores_per_node
    if where.device == "cpu" and cores is not None and processes > cores:
        notices.append(f"{processes} processes share {cores} cores: fewer processes would be faster")
    if profile is not None and profile.has_stand_in_gpus:
        notices.append(
            f"profile {profile.name}: ranks run on the CPU with gloo; the {profile.gpus_per_node} GPUs "
            "asked for on a node stay unused"
        )
    if (turns := len(asked_views(recipe.data))) > 1:
        notices.append(
            f"data.merge: no training corpus annotates all types, so tagged asks for them in {turns} turns: evaluation "
            f"and prediction take {turns} times as long"
        )
    if recipe.train.global_batch > train.samples:
        notices.append(
            f"train.global_batch: {recipe.train.global_batch} is more than the {train.samples} training samples; "
            "each epoch is one step of all of them"
        )
    if memory.total > FILL[where.device] * capacity:
        notices.append(
            f"a process may need {size_of(memory.total)} of its {size_of(capacity)}, and plans are to fill at most "
            f"{FILL[where.device]:.0%}: lower train.micro_batch or data.max_length if it runs out of memory"
        )
    return tuple(notices)


def _head_notices(model: ModelPlan, index: DataIndex) -> list[str]:
    """What becomes of a classifier that came with the encoder."""
    if model.head is None:
        return []
    rows = matched_head(model.head, index.labels)
    if rows is None:
        return [
            f"model.name: its classifier knows other classes ({', '.join(model.head)}) than data.labels: "
            "a new one is drawn"
        ]
    if rows != tuple(range(len(rows))):
        return ["model.name: its classifier's rows are put into the order of data.labels, by name"]
    return ["model.name: its classifier is kept, its classes being those of data.labels"]
