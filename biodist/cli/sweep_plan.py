"""``biodist plan SWEEP``: how many trials, how long, at what cost, and the script of one. Starts nothing."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from biodist.cli.say import out
from biodist.config.space import configurations, grid_size
from biodist.config.sweep_loading import load_sweep

if TYPE_CHECKING:
    from biodist.config.sweep_loading import StatedSweep
    from biodist.plan.plan import Plan
    from biodist.sweeps.place import Place
    from biodist.sweeps.schedulers import Pace


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep comes to. Hours are None where nothing tells how long a trial takes."""

    name: str
    configurations: int
    runs: int
    at_a_time: int
    steps_per_trial: int
    steps_at_most: int
    steps_expected: int
    first_stop: int | None  # steps before which no trial is stopped early
    unit: str  # of what a trial holds: GPU or CPU
    units_per_trial: int
    hours_per_trial: float | None
    hours_known_by: str
    unit_hours_at_most: float | None
    unit_hours_expected: float | None


def plan_sweep(
    name: str,
    overrides: tuple[str, ...],
    on: str | None,
    nodes: int | None,
    nproc: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Prints it. Raises UserError, MachineCannot."""
    from biodist.cli.plan import plan_lines
    from biodist.cli.sweep import place_of
    from biodist.cli.sweep_places import pace_of, refuse_budget, trial_plan

    stated, place = load_sweep(name, overrides), place_of(on, nodes, nproc, device)
    plan = trial_plan(stated, place)
    refuse_budget(stated, plan)
    decided = _decided(stated, place, plan, pace_of(stated, plan, place))
    if as_json:
        typer.echo(json.dumps(asdict(decided), indent=2))
        return
    for line in _lines(stated, decided):
        out.print(line)
    out.print("\na trial, with the recipe's own settings:")
    for line in plan_lines(plan):
        out.print(f"  {line}")
    command = ("biodist", "sweep", name, *overrides, *place.options())
    if plan.profile is not None:
        typer.echo(f"\n{_script(plan)}")
    out.print(shlex.join(command))


def _decided(stated: StatedSweep, place: Place, plan: Plan, pace: Pace) -> SweepPlan:
    from biodist.sweeps.schedulers import expected_share, grace_of

    sweep = stated.sweep
    runs = configurations(sweep) * sweep.search.seeds
    share = expected_share(sweep, pace)
    hours, known_by = _hours(stated, plan, pace)
    unit, units = _held(place, plan, _at_a_time(stated, place, plan))
    at_most = None if hours is None else runs * units * hours
    stops = sweep.search.scheduler != "none"
    return SweepPlan(
        name=sweep.name,
        configurations=configurations(sweep),
        runs=runs,
        at_a_time=_at_a_time(stated, place, plan),
        steps_per_trial=pace.total,
        steps_at_most=runs * pace.total,
        steps_expected=math.ceil(runs * pace.total * share),
        first_stop=grace_of(sweep, pace) if stops else None,
        unit=unit,
        units_per_trial=units,
        hours_per_trial=hours,
        hours_known_by=known_by,
        unit_hours_at_most=at_most,
        unit_hours_expected=None if at_most is None else at_most * share,
    )


def _at_a_time(stated: StatedSweep, place: Place, plan: Plan) -> int:
    from biodist.plan.machine import Machine
    from biodist.sweeps.local import slots_of

    wanted = stated.sweep.search.concurrency
    if place.kind != "local":
        return wanted
    return len(slots_of(Machine.here(), place.nproc or 1, plan.machine.device, wanted))


def _held(place: Place, plan: Plan, at_a_time: int) -> tuple[str, int]:
    """What a trial holds. On this machine it has an equal part of the cores."""
    machine = plan.machine
    processes = machine.nodes * machine.processes_per_node
    if plan.profile is not None and (gpus := plan.profile.gpus_of(machine.processes_per_node)):
        return "GPU", machine.nodes * gpus
    if machine.device == "cuda":
        return "GPU", processes if place.kind != "local" else place.nproc or 1
    cores = processes * machine.threads_per_process
    return "CPU", cores if place.kind != "local" else max(1, cores // at_a_time)


def _hours(stated: StatedSweep, plan: Plan, pace: Pace) -> tuple[float | None, str]:
    """Of a whole trial: measured by a finished run of the recipe, else the job's limit."""
    from biodist.config.core import core_digest
    from biodist.run.folder import RunFolder, run_root
    from biodist.run.records import Result, is_finished

    run = RunFolder(run_root(stated.recipe.name, core_digest(stated.recipe)).absolute())
    if is_finished(run):
        result = Result.load(run.result)
        return result.train_seconds / max(1, result.steps) * pace.total / 3600, f"the steps of {run.root}"
    if plan.profile is not None:
        return plan.profile.time_limit_min / 60, f"the time limit of {plan.profile.name}: the most that one job takes"
    return None, "train the recipe once (`biodist train`), and its steps will tell"


def _lines(stated: StatedSweep, plan: SweepPlan) -> list[str]:
    sweep, search = stated.sweep, stated.sweep.search
    of_grid = f", the whole grid of {grid_size(sweep)}" if search.searcher == "grid" else ""
    seeds = f" of {search.seeds} seeds each, {plan.runs:,} runs" if search.seeds > 1 else ""
    early = f"{search.scheduler}, from step {plan.first_stop:,} on" if plan.first_stop is not None else "nobody"
    parts = {
        "sweep": f"{sweep.name}: {len(sweep.space)} keys by {search.searcher}, for {sweep.mode} {sweep.metric}",
        "trials": f"{plan.configurations:,} configurations{seeds}{of_grid}; {plan.at_a_time} at a time",
        "stopped early by": early,
        "steps": f"{plan.steps_per_trial:,} a trial; {plan.steps_at_most:,} at most, {plan.steps_expected:,} expected",
        f"{plan.unit} hours": _cost(plan),
        "budget": ", ".join(_budget(stated)) or "trials alone",
    }
    width = max(map(len, parts)) + 2
    return [f"{name:<{width}}{line}" for name, line in parts.items()]


def _cost(plan: SweepPlan) -> str:
    held = f"{plan.units_per_trial} {plan.unit}{'s' if plan.units_per_trial > 1 else ''} a trial"
    if plan.unit_hours_at_most is None or plan.unit_hours_expected is None:
        return f"not known ({held}): {plan.hours_known_by}"
    return (
        f"{plan.unit_hours_at_most:,.2f} at most, {plan.unit_hours_expected:,.2f} expected; {held}, "
        f"by {plan.hours_known_by}"
    )


def _budget(stated: StatedSweep) -> list[str]:
    search = stated.sweep.search
    found = [f"{search.max_hours:g} hours"] if search.max_hours else []
    return found + ([f"{search.max_gpu_hours:g} GPU hours"] if search.max_gpu_hours else [])


def _script(plan: Plan) -> str:
    """Of a trial; several that start together are one array of it."""
    from launch.slurm.submission import script_text

    return script_text(plan, Path("TRIAL/jobs/0001"), "TRIAL")
