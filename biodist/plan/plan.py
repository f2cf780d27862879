"""The plan: recipe + data index + machine, every number decided. A worker reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
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
MicroBatchRule = Literal["recipe", "step", "memory", "tokens", "probe", "kept", "smaller"]
"""What set the micro-batch: the recipe; a process's share of one step; its memory; the token budget of a CPU; memory
as it was measured; an earlier attempt of the run; an earlier attempt that ran out of memory."""


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
    head: tuple[str, ...] | None = None  # classes that the folder's classifier of this task's kind names, by row


class MachinePlan(Section):
    """Where it runs: every node alike."""

    device: Literal["cpu", "cuda"]
    backend: Literal["gloo", "nccl"]
    world_size: int
    nodes: int
    processes_per_node: int
    threads_per_process: int
    memory_gb_per_process: float  # 10^9 bytes; of its GPU, or of the machine
    device_name: str
    cores_per_node: int | None = None  # usable; None in plans from before there were profiles
    compute_capability: float | None = None  # of the weakest GPU that is used
    network_interface: str | None = None  # between nodes; None: as gloo and NCCL find it
    host_gb_per_process: float | None = None  # on GPUs: its part of the node's own memory, for what is offloaded


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
    """Bytes of one process, by part, each at its fullest; the formulas are in `biodist.plan.memory`.

    Not all are there at one time: gradients come as activations go. ``total`` is the most there is at any moment.
    """

    parameters: int
    gradients: int
    optimizer: int  # both moments; under ZeRO the fp32 copy that is updated too
    activations: int  # of the largest micro-batch
    buffers: int  # what gradients and weights travel in, low-precision copies, what libraries keep once they have run
    process: int = 0  # what the process has before the model is built: its libraries, a GPU's context
    late: int = 0  # of gradients and buffers: what comes only as the activations go
    ending: int = 0  # the most of these, and of activations still there, while they take turns
    saving: int = 0  # on a CPU, from the first save on: the copy of the state that is written in the background
    host: int = (
        0  # on a GPU: what offloading and that copy take of the node's memory; on a CPU it is in the other parts
    )
    shared: int = 0  # the other processes' weights, where all read the same memory: resident here too, but there once
    communication: int = 0  # bytes that the process sends to others in one step; no part of its memory

    @property
    def parts(self) -> Mapping[str, int]:
        """The parts by what a person calls them; not all of it is there at one time."""
        return {
            **{"weights": self.parameters, "gradients": self.gradients, "optimizer": self.optimizer},
            **{"activations": self.activations, "buffers": self.buffers},
            **{"libraries": self.process, "saving": self.saving},
        }

    @property
    def beside_activations(self) -> int:
        """What is there when the activations are at their fullest."""
        kept = self.parameters + self.gradients + self.optimizer + self.buffers + self.process + self.saving
        return kept - self.late

    @property
    def total(self) -> int:
        """At the fullest moment: the end of a forward pass, or of a backward pass."""
        return self.beside_activations + max(self.activations, self.ending)

    @property
    def resident(self) -> int:
        """The total, and what others hold that is resident in this process as well."""
        return self.total + self.shared

    @property
    def growth(self) -> int:
        """Of what is resident, what comes between just before the model is built and the first save."""
        return self.resident - self.process - self.saving


class Setting(Section):
    """How the state is divided, and what is done to save memory."""

    strategy: Strategy
    offload: Literal["none", "cpu"] = "none"
    activation_checkpointing: bool = False

    @property
    def name(self) -> str:
        """For a person: zero2, offload, checkpointing."""
        extra = [", offload" if self.offload == "cpu" else "", ", checkpointing" * self.activation_checkpointing]
        return self.strategy + "".join(extra)

    @property
    def overrides(self) -> tuple[str, ...]:
        """What a person adds to the command to choose it."""
        return (
            f"distributed.strategy={self.strategy}",
            f"distributed.offload={self.offload}",
            f"model.activation_checkpointing={str(self.activation_checkpointing).lower()}",
        )


class Choice(Setting):
    """One way to train the same recipe here, and whether it fits."""

    micro_batch: int  # the largest that fits, up to a process's share of a step; the recipe's own where it names one
    memory: MemoryPlan  # with that micro-batch
    fits: bool


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
    choices: tuple[Choice, ...] = ()  # every way to train it here, the cheapest first
    disk: DiskPlan
    command: tuple[str, ...]  # what a person types to run exactly this
    notices: tuple[str, ...] = ()  # what the machine lacks and was replaced, by which rule
    profile: Profile | None = None  # of the cluster; None on one's own machine
    rehearsal: Rehearsal | None = None  # None: the run itself

    @property
    def setting(self) -> Setting:
        """The recipe's own way."""
        return setting_of(self.recipe)


def setting_of(recipe: Recipe) -> Setting:
    """The way to train that a recipe asks for."""
    distributed, again = recipe.distributed, recipe.model.activation_checkpointing
    return Setting(strategy=distributed.strategy, offload=distributed.offload, activation_checkpointing=again)


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
        do = "use the biodist that wrote it (provenance.json), or start the run again: a new attempt writes a new plan"
        raise UserError(Problem(str(path), what, do)) from None
