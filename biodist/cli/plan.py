"""``biodist plan``: decides everything, runs nothing."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from biodist.cli.say import out
from biodist.errors import Problem, UserError

if TYPE_CHECKING:
    from biodist.plan.plan import Plan

RULES = {
    "recipe": "as the recipe says",
    "step": "a process's share of one step",
    "memory": "as many as fit into memory",
    "tokens": "a processor gains nothing from more",
}


def plan(
    recipe: Annotated[str, typer.Argument(help="Recipe: a YAML file, or a name that `biodist recipes` lists.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes: train.learning_rate=1e-5.")
    ] = None,
    nproc: Annotated[int | None, typer.Option(min=1, help="Processes; the number of GPUs, or 1.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    on: Annotated[str | None, typer.Option(help="Profile of a cluster; comes with Slurm.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes; comes with Slurm.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan itself.")] = False,
) -> None:
    """Says what `biodist train` would do here: processes, micro-batches, steps, memory, disk. Starts nothing."""
    asked = [("--on", on), ("--nodes", nodes if nodes != 1 else None)]
    if later := [(option, value) for option, value in asked if value is not None]:
        what = "comes with Slurm, which this version does not have yet"
        raise UserError(
            Problem(f"{name} {value}", what, "leave it out to plan for this machine") for name, value in later
        )
    from rich.text import Text

    from biodist.cli.prepare import prepare

    command = train_command(recipe, tuple(overrides or ()), nproc, device)
    decided = prepare(recipe, overrides or (), nproc, device, command).plan
    if json:
        typer.echo(decided.model_dump_json(indent=2))
        return
    for line in plan_lines(decided):
        out.print(Text(line))
    for notice in decided.notices:
        out.print(Text(f"note: {notice}"))
    out.print(Text(shlex.join(decided.command)))


def train_command(recipe: str, overrides: tuple[str, ...], nproc: int | None, device: str) -> tuple[str, ...]:
    """What a person types to train what was planned."""
    command = ("biodist", "train", recipe, *overrides)
    command += ("--nproc", str(nproc)) if nproc else ()
    return command + (("--device", device) if device != "auto" else ())


def plan_lines(plan: Plan) -> list[str]:
    """The plan for a person to read: what it is about on the left. Lines are whole, so that paths can be copied."""
    parts = {
        "model": _model(plan),
        "data": _data(plan),
        "processes": _processes(plan),
        "steps": _steps(plan),
        "memory a process": _memory(plan),
        "disk": _disk(plan),
    }
    width = max(map(len, parts)) + 2
    return [f"{name if row is rows[0] else '':<{width}}{row}" for name, rows in parts.items() for row in rows]


def _model(plan: Plan) -> list[str]:
    shape = plan.model.shape
    origin = plan.model.folder or "made from nothing"
    return [
        origin,
        f"{shape.family}, {shape.parameters:,} parameters: {shape.layers} layers of width {shape.hidden_size}, "
        f"{shape.vocab_size:,} word pieces",
    ]


def _data(plan: Plan) -> list[str]:
    return [
        f"{split}: {counted.samples:,} samples, {counted.windows:,} windows, {counted.tokens:,} tokens "
        f"(the longest window {counted.longest})"
        for split, counted in plan.data.splits.items()
    ]


def _processes(plan: Plan) -> list[str]:
    machine = plan.machine
    rows = "unpadded rows" if plan.padding == "none" else "padded batches"
    stage = f"ZeRO stage {plan.zero_stage}" if plan.zero_stage else "every process keeps all"
    return [
        f"{_count(machine.world_size, 'process', 'processes')} on {machine.device_name} ({machine.device}, "
        f"{machine.backend}), {_count(machine.threads_per_process, 'thread', 'threads')} each",
        f"{plan.strategy}: {stage}; {plan.precision}; {rows}",
    ]


def _steps(plan: Plan) -> list[str]:
    batch = plan.batch
    return [
        f"{batch.total_steps:,} of {batch.global_batch:,} samples, {batch.steps_per_epoch:,} an epoch, "
        f"{batch.warmup_steps:,} of warm-up; scored every {batch.evaluate_every_steps:,}",
        f"micro-batches of {_count(batch.micro_batch, 'window', 'windows')}: {RULES[batch.micro_batch_rule]}",
    ]


def _memory(plan: Plan) -> list[str]:
    memory = plan.memory
    parts = {
        "weights": memory.parameters,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "activations": memory.activations,
        "buffers": memory.buffers,
    }
    return [
        f"{size_of(memory.total)} of {plan.machine.memory_gb_per_process:.1f} GB, by estimate",
        ", ".join(f"{name} {size_of(size)}" for name, size in parts.items()),
    ]


def _disk(plan: Plan) -> list[str]:
    disk = plan.disk
    return [f"checkpoint {size_of(disk.checkpoint)}, all kept {size_of(disk.retained)}, model {size_of(disk.model)}"]


def size_of(size: int) -> str:
    """Bytes for a person: 12.3 MB, 1.31 GB."""
    return f"{size / 1e9:.2f} GB" if size >= 10**9 else f"{size / 1e6:.1f} MB"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
