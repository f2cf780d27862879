"""``biodist plan``: decides everything, runs nothing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biodist.cli.choices import choice_lines, verdict_lines
from biodist.cli.say import out
from biodist.plan.amounts import count_of, size_of

if TYPE_CHECKING:
    from biodist.config.profile import Profile
    from biodist.plan.plan import MachinePlan, Plan

RULES = {
    "recipe": "as the recipe says",
    "step": "a process's share of one step",
    "memory": "as many as fit into memory",
    "tokens": "a processor gains nothing from more",
    "probe": "as many as were measured to fit",
    "kept": "as in the run's last attempt",
    "smaller": "fewer, because memory ran out",
}


def plan(
    recipe: Annotated[str, typer.Argument(help="Recipe or sweep: a YAML file, a name, or sweeps/NAME.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes: train.learning_rate=1e-5.")
    ] = None,
    nproc: Annotated[int | None, typer.Option(min=1, help="Processes, on each node; the number of GPUs, or 1.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    on: Annotated[
        str | None, typer.Option(help="Profile of a cluster: a name that `biodist profiles` lists, or a path.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes, with --on; the profile's when not given.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan itself.")] = False,
) -> None:
    """Says what `biodist train` would do here, or `biodist submit` on a cluster: processes, micro-batches, steps,
    memory, disk, the very script. Starts nothing."""
    from rich.text import Text

    from biodist.cli.prepare import prepare
    from biodist.config.sweep_loading import is_sweep

    changes = tuple(overrides or ())
    if is_sweep(recipe):
        from biodist.cli.sweep_plan import plan_sweep

        plan_sweep(recipe, changes, on, nodes, nproc, device, json)
        return
    command = (
        train_command(recipe, changes, nproc, device)
        if on is None
        else submit_command(recipe, changes, on, nodes, nproc)
    )
    decided = prepare(recipe, changes, nproc, device, command, on, nodes).plan
    if json:
        typer.echo(decided.model_dump_json(indent=2))
        return
    for line in plan_lines(decided):
        out.print(Text(line))
    for notice in decided.notices:
        out.print(Text(f"note: {notice}"))
    if on is not None:
        typer.echo(f"\n{_script(decided)}")
    out.print(Text(shlex.join(decided.command)))


def train_command(recipe: str, overrides: tuple[str, ...], nproc: int | None, device: str) -> tuple[str, ...]:
    """What a person types to train what was planned."""
    command = ("biodist", "train", recipe, *overrides)
    command += ("--nproc", str(nproc)) if nproc else ()
    return command + (("--device", device) if device != "auto" else ())


def submit_command(
    recipe: str, overrides: tuple[str, ...], on: str, nodes: int | None, nproc: int | None
) -> tuple[str, ...]:
    """What a person types to submit what was planned."""
    command = ("biodist", "submit", recipe, *overrides, "--on", on)
    command += ("--nodes", str(nodes)) if nodes else ()
    return command + (("--nproc", str(nproc)) if nproc else ())


def _script(plan: Plan) -> str:
    """The script that `biodist submit` would give to sbatch now, for the run's folder that it would take."""
    from biodist.run.folder import RunFolder, run_root
    from launch.slurm.submission import script_text

    run = RunFolder(run_root(plan.recipe.name, plan.core_digest).absolute())
    number = max((job.number for job in run.jobs()), default=0) + 1
    return script_text(plan, Path(run.jobs_root) / f"{number:04d}", run.root.name)


def plan_lines(plan: Plan) -> list[str]:
    """The plan for a person to read: what it is about on the left. Lines are whole, so that paths can be copied."""
    parts = {
        "model": _model(plan),
        "data": _data(plan),
        **({"cluster": _cluster(plan.profile, plan.machine)} if plan.profile else {}),
        "processes": _processes(plan),
        "steps": _steps(plan),
        "memory a process": _memory(plan),
        "ways to train it": [*choice_lines(plan), *verdict_lines(plan)],
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


def _cluster(profile: Profile, machine: MachinePlan) -> list[str]:
    gpus = profile.gpus_of(machine.processes_per_node)
    cpus = machine.processes_per_node * profile.cpus_per_process
    asked = ([count_of(gpus, "GPU", "GPUs")] if gpus else []) + [
        count_of(cpus, "CPU", "CPUs"),
        f"{profile.memory_gb:g} GB",
    ]
    # Of an exclusive node every GPU is this job's, used or not.
    unit, units = ("GPU", profile.gpus_per_node if profile.exclusive else gpus) if gpus else ("CPU", cpus)
    hours = machine.nodes * units * profile.time_limit_min / 60
    partition = "the default partition" if profile.partition is None else f"partition {profile.partition}"
    return [
        f"profile {profile.name}, {partition}: {count_of(machine.nodes, 'node', 'nodes')} of {', '.join(asked)}",
        f"at most {profile.time_limit_min:,} min, {hours:,.1f} {unit} hours a job; "
        f"asked to save and stop {profile.signal_lead_s} s before",
    ]


def _processes(plan: Plan) -> list[str]:
    machine = plan.machine
    rows = "unpadded rows" if plan.padding == "none" else "padded batches"
    stage = f"ZeRO stage {plan.zero_stage}" if plan.zero_stage else "every process keeps all"
    count = count_of(machine.processes_per_node, "process", "processes")
    where = f"{machine.device_name} ({machine.device}, {machine.backend})"
    return [
        f"{f'{machine.nodes} nodes × ' if machine.nodes > 1 else ''}{count} on {where}, "
        f"{count_of(machine.threads_per_process, 'thread', 'threads')} each",
        f"{plan.strategy}: {stage}; {plan.precision}; {rows}",
    ]


def _steps(plan: Plan) -> list[str]:
    batch = plan.batch
    return [
        f"{batch.total_steps:,} of {batch.global_batch:,} samples, {batch.steps_per_epoch:,} an epoch, "
        f"{batch.warmup_steps:,} of warm-up; scored every {batch.evaluate_every_steps:,}",
        f"micro-batches of {count_of(batch.micro_batch, 'window', 'windows')}: {RULES[batch.micro_batch_rule]}",
    ]


def _memory(plan: Plan) -> list[str]:
    memory, machine = plan.memory, plan.machine
    parts = memory.parts
    once = " (not all at one time)" if sum(parts.values()) > memory.total else ""
    lines = [
        f"{size_of(memory.total)} of {machine.memory_gb_per_process:.1f} GB at its fullest"
        + (", not measured on GPUs yet" if machine.device == "cuda" else ""),
        ", ".join(f"{name} {size_of(size)}" for name, size in parts.items() if size) + once,
    ]
    if memory.host:
        lines.append(f"in the node's memory, offloaded or being saved: {size_of(memory.host)} a process")
    if memory.shared:
        lines.append(f"of other processes' weights, resident in this one too but there once: {size_of(memory.shared)}")
    if memory.communication:
        lines.append(f"sent to other processes in a step: {size_of(memory.communication)}")
    return lines


def _disk(plan: Plan) -> list[str]:
    disk = plan.disk
    return [f"checkpoint {size_of(disk.checkpoint)}, all kept {size_of(disk.retained)}, model {size_of(disk.model)}"]
