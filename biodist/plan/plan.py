"""The plan: recipe + data index + machine, every number decided. A worker reads nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from biodist.config.profile import Profile
from biodist.config.recipe import Recipe, Section
from biodist.errors import Problem, UserError
from biodist.plan.index import DataIndex
from biodist.run.durable import write_text

Precision = Literal["fp32", "bf16", "fp16"]
Padding = Literal["none", "batch"]
Strategy = Literal["ddp", "zero1", "zero2", "zero3"]
MicroBatchRule = Literal["recipe", "step", "memory", "tokens"]
"""What set the micro-batch: the recipe; a process's share of one step; its memory; the token budget of a CPU."""


class ModelShape(Section):
    """The sizes of an encoder that memory and bytes on disk follow from."""

    family: str  # model_type of the Hugging Face config: bert, roberta, …
    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    vocab_size: int
    max_positions: int  # tokens of the longest sequence; positions that RoBERTa reserves taken off
    type_vocab_size: int  # 0 where the family has none
    parameters: int  # of the encoder with its head, each tied one once
    largest_parameters: int  # of the largest single weight
    layer_parameters: int  # of one layer


class ModelPlan(Section):
    """Where the encoder comes from. ``folder`` is a local folder (None for init: scratch)."""

    folder: str | None
    shape: ModelShape


class MachinePlan(Section):
    """Where it runs: every node alike."""

    device: Literal["cpu", "cuda"]
    backend: Literal["gloo", "nccl"]
    world_size: int
    nodes: int
    processes_per_node: int
    threads_per_process: int
    memory_gb_per_process: float  # 10^9 bytes
    device_name: str
    cores_per_node: int | None = None  # usable; None in plans from before there were profiles
    compute_capability: float | None = None  # of the weakest GPU that is used
    network_interface: str | None = None  # between nodes; None: as gloo and NCCL find it


class BatchPlan(Section):
    """Steps and sizes. Steps count from 1."""

    global_batch: int
    micro_batch: int  # windows of one forward pass of one process
    micro_batch_rule: MicroBatchRule  # what set it
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    evaluate_every_steps: int


class MemoryPlan(Section):
    """Bytes of one process, by part, at its fullest; the formulas are in `biodist.plan.memory`."""

    parameters: int
    gradients: int
    optimizer: int  # both moments; under ZeRO the fp32 copy that is updated too
    activations: int  # of the largest micro-batch
    buffers: int  # what gradients and weights travel in, and low-precision copies of the weights

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.activations + self.buffers


class DiskPlan(Section):
    """Bytes on disk."""

    checkpoint: int  # one checkpoint
    retained: int  # all the retention holds at once, and the one being written
    model: int  # the exported folder


REHEARSED_KILL = "killed by the rehearsal"
"""The phase that a rank names before it kills itself, as its rehearsal says."""


class Rehearsal(Section):
    """What a rehearsal does otherwise than the run it is for; its few steps are in its recipe."""

    score_samples: int  # each scored split is cut to so many first samples
    kill_step: int | None = None  # once, the last rank kills itself after it; None: nobody does


class Plan(Section):
    """Everything a worker needs; written to ``attempts/NNNN/plan.json`` before anything starts."""

    version: Literal[1] = 1
    recipe: Recipe  # resolved: every path absolute, every default filled in
    core_digest: str
    data: DataIndex
    model: ModelPlan
    machine: MachinePlan
    batch: BatchPlan
    precision: Precision
    padding: Padding
    strategy: Strategy
    zero_stage: int  # 0 under ddp
    deepspeed: dict[str, Any] | None  # the complete configuration, no "auto"; None under ddp
    memory: MemoryPlan
    disk: DiskPlan
    command: tuple[str, ...]  # what a person types to run exactly this
    notices: tuple[str, ...] = ()  # what the machine lacks and was replaced, by which rule
    profile: Profile | None = None  # of the cluster; None on one's own machine
    rehearsal: Rehearsal | None = None  # None: the run itself


def write_plan(plan: Plan, path: Path) -> None:
    """Writes the plan as JSON, durably. The same plan gives the same bytes."""
    write_text(path, plan.model_dump_json(indent=2) + "\n")


def read_plan(path: Path) -> Plan:
    """The plan that `write_plan` wrote.

    Raises:
        UserError: the file is missing, or is no plan of this version.
    """
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(Problem(str(path), f"the plan cannot be read: {error.strerror}")) from None
    except ValidationError as error:
        places = (".".join(map(str, found["loc"])) or "the file" for found in error.errors(include_url=False))
        what = f"is not a plan of this version of biodist; wrong: {', '.join(dict.fromkeys(places))}"
        raise UserError(Problem(str(path), what, "start the run again: a new attempt writes a new plan")) from None
