"""From a place to the backend that runs trials there, and to how long a trial trains."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from biodist.cli.prepare import prepare
from biodist.cli.train import disk_free
from biodist.config.space import Settings, configurations
from biodist.config.sweep_rules import trial_words
from biodist.errors import MachineCannot, Problem, UserError

if TYPE_CHECKING:
    from biodist.config.sweep_loading import StatedSweep
    from biodist.plan.plan import Plan
    from biodist.run.sweep_folder import SweepFolder
    from biodist.sweeps.backend import Backend
    from biodist.sweeps.place import Place
    from biodist.sweeps.schedulers import Pace

_STEP_KEYS = ("train.epochs", "train.max_steps", "train.global_batch", "evaluate.every")
MOST_PLANS = 16


@dataclass(frozen=True)
class Site:
    """Where the trials run, found fit for it."""

    backend: Backend
    plan: Plan  # of the recipe without a trial's settings
    line: str  # for a person


def at(stated: StatedSweep, folder: SweepFolder, place: Place) -> Site:
    """Raises UserError, MachineCannot where the place cannot run a trial of the recipe."""
    plan = trial_plan(stated, place)
    refuse_budget(stated, plan)
    _refuse_small_disk(stated, folder, plan)
    if place.kind == "local":
        return _local(stated, folder, place, plan)
    if place.kind == "ray":
        from biodist.cli.sweep_ray import ray_site

        return ray_site(stated, folder, place, plan)
    from biodist.cli.sweep_slurm import slurm_site

    return slurm_site(stated, folder, place, plan)


def trial_plan(stated: StatedSweep, place: Place, settings: Settings | None = None) -> Plan:
    """The plan of a trial with these settings. Raises UserError, MachineCannot."""
    words = (*stated.recipe_overrides, *trial_words(stated.sweep, settings or {}))
    on = place.on if place.kind == "slurm" else None
    nodes = place.nodes if place.kind == "slurm" else None
    return prepare(str(stated.recipe_path), words, place.nproc, place.device, (), on, nodes).plan


def pace_of(stated: StatedSweep, plan: Plan, place: Place) -> Pace:
    """The first evaluation and the last step; where they differ between trials, the earliest and the latest."""
    from biodist.sweeps.schedulers import Pace

    batches = [plan.batch]
    for settings in _paces(stated):
        batches.append(trial_plan(stated, place, settings).batch)
    first = min(min(batch.evaluate_every_steps, batch.total_steps) for batch in batches)
    pace = Pace(first, max(batch.total_steps for batch in batches))
    grace = stated.sweep.search.grace_steps
    if stated.sweep.search.scheduler != "none" and grace is not None and grace >= pace.total:
        what = f"is {grace:,}, but a trial has {pace.total:,} steps: none could ever be stopped early"
        raise UserError(Problem("search.grace_steps", what, f"set it below {pace.total:,}, or search.scheduler=none"))
    return pace


def _paces(stated: StatedSweep) -> Iterator[Settings]:
    """The ends of those keys of the space that change how many steps there are."""
    keys = [key for key in _STEP_KEYS if key in stated.sweep.space]
    ends = itertools.product(*(stated.sweep.space[key].values for key in keys)) if keys else ()
    for values in itertools.islice(ends, MOST_PLANS):
        yield dict(zip(keys, values, strict=True))


def refuse_budget(stated: StatedSweep, plan: Plan) -> None:
    """A budget that nothing could be done with. Raises UserError."""
    search = stated.sweep.search
    if search.max_gpu_hours is not None and plan.machine.device != "cuda":
        what = f"is {search.max_gpu_hours:g}, but trials here use no GPU"
        raise UserError(Problem("search.max_gpu_hours", what, "use search.max_hours"))


def _refuse_small_disk(stated: StatedSweep, folder: SweepFolder, plan: Plan) -> None:
    there = len(folder.trial_keys())
    left = configurations(stated.sweep) * stated.sweep.search.seeds - there
    needed, free = left * (plan.disk.retained + plan.disk.model), disk_free(folder.root)
    if needed > free:
        raise MachineCannot(
            f"{folder.root}: the disk has {free / 1e9:.2f} GB free, and {left} trials need {needed / 1e9:.2f} GB. Make "
            "room, name another disk with --run, or keep fewer checkpoints (checkpoint.keep_last=1)"
        )


def _local(stated: StatedSweep, folder: SweepFolder, place: Place, plan: Plan) -> Site:
    from biodist.plan.machine import Machine
    from biodist.sweeps.local import LocalBackend, slots_of

    wanted = stated.sweep.search.concurrency
    nproc = place.nproc or 1
    device = plan.machine.device
    slots = slots_of(Machine.here(), nproc, device, wanted)
    # A trial has one part of the machine: without --nproc it would take every GPU there is.
    options = ("--nproc", str(nproc), *(("--device", place.device) if place.device != "auto" else ()))
    fewer = f" (search.concurrency is {wanted}: this machine has room for {len(slots)})" if len(slots) < wanted else ""
    held = f"{len(slots[0].gpus)} GPUs" if slots[0].gpus else f"{len(slots[0].cores)} cores"
    line = f"{len(slots)} trials at a time here, {held} each{fewer}"
    return Site(LocalBackend(folder, slots, options), plan, line)
