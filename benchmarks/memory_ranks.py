"""The program of one rank of `memory.py`: what the worker builds and trains, with an eye on this process's memory.

``python memory_ranks.py FOLDER RANK WORLD_SIZE PARENT`` reads FOLDER/argument.json, leaves FOLDER/result-RANK.json.

Resident memory is the kernel's own count (``VmRSS``), its peak ``VmHWM``, set back by writing 5 to
``/proc/self/clear_refs``. Everything is imported, and what was freed is given back, before the first reading.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

import accelerate  # noqa: F401  # before the first reading, as all that a worker imports
import torch
from memory_rows import Grown, Phase

import biodist.training.attempt  # noqa: F401
from biodist.data.store import SampleStore
from biodist.plan.plan import Plan
from biodist.run.durable import write_json
from biodist.run.tether import tether
from biodist.tasks.choice import task_of
from biodist.training.encoder import build_model, collator_of
from biodist.training.engine import Engine
from biodist.training.extensions import build, needed
from biodist.training.group import Control, process_group
from biodist.training.placement import Placement
from biodist.training.steps import training_steps
from biodist.training.stopping import StopFlag
from biodist.training.watchdog import Watchdog


class Meter:
    """This process's memory, phase by phase."""

    def __init__(self) -> None:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        self.before = _status("VmRSS")
        self.phases: list[Phase] = []
        _reset_peak()

    def ended(self, name: str) -> None:
        self.phases.append(Phase(name=name, resident=_status("VmRSS"), peak=_status("VmHWM")))
        _reset_peak()


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measure(plan: Plan, placement: Placement, control: Control) -> Grown:
    """Builds model and engine and trains every step of the plan."""
    store, task = SampleStore.open(plan.data, "train"), task_of(plan)
    if plan.zero_stage:
        import deepspeed  # noqa: F401
    for extension in needed(plan):
        build(extension, lambda line: None)
    control.barrier()
    meter = Meter()
    model = build_model(plan, task)
    meter.ended("model")
    engine = Engine(model, plan, placement, control)
    meter.ended("engine")
    with Watchdog(float("inf"), _never) as watchdog:
        steps = training_steps(engine, task, store, collator_of(plan, model), control, StopFlag(), watchdog, 0)
        for done in steps:
            meter.ended(f"step {done.step}")
    return Grown(rank=placement.rank, before=meter.before, phases=tuple(meter.phases))


def _never(doing: str) -> None:
    raise AssertionError(doing)


def main() -> None:
    folder, rank, world_size, parent = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    tether(parent)
    argument: Any = json.loads((folder / "argument.json").read_text(encoding="utf-8"))
    plan = Plan.model_validate(argument["plan"])
    torch.set_num_threads(plan.machine.threads_per_process)
    placement = Placement(
        attempt=folder,
        rank=rank,
        local_rank=rank,
        world_size=world_size,
        rendezvous=f"file://{folder.absolute()}/rendezvous",
        lease="",
        parent=parent,
    )
    with process_group(plan, placement) as control:
        grown = measure(plan, placement, control)
    write_json(folder / f"result-{rank}.json", grown.model_dump(mode="json"))


if __name__ == "__main__":
    main()
