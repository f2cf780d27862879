"""The program of one rank of `stop_agreement.py`: steps that only wait, and what ranks then agree on, timed.

``python agreement_ranks.py FOLDER RANK WORLD_SIZE PARENT`` reads FOLDER/argument.json and leaves the seconds of every
step, the slowest rank's, in FOLDER/result-RANK.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from biodist.plan.plan import Plan
from biodist.run.durable import write_json
from biodist.run.tether import tether
from biodist.training.group import Control, process_group
from biodist.training.placement import Placement
from biodist.training.stopping import StopFlag

WARM_UP = 20  # steps that do not count
ROW = 4 + 16  # numbers of the collective that ends a training step: loss, norm, flag, count, window numbers


def main() -> None:
    folder, rank, world_size, parent = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    tether(parent)
    argument = json.loads((folder / "argument.json").read_text(encoding="utf-8"))
    plan = Plan.model_validate(argument["plan"])
    placement = Placement(folder, rank, rank, world_size, f"file://{folder / 'rendezvous'}", "", parent)
    torch.set_num_threads(1)
    with process_group(plan, placement) as control:
        steps = range(WARM_UP + argument["steps"])
        seconds = [one_step(control, argument["step_s"], step % 2 == 0) for step in steps][WARM_UP:]
        slowest = torch.tensor(control.gather(seconds)).amax(0)
    write_json(folder / f"result-{rank}.json", slowest.tolist())


def one_step(control: Control, step_s: float, flag_first: bool) -> tuple[float, float]:
    """Seconds of the agreement alone, and of the collective that carries the flag at the end of a training step; the
    one that comes first finds colder caches."""
    row = torch.zeros(ROW, dtype=torch.int64)
    time.sleep(step_s)
    timed = {}
    for flag in (flag_first, not flag_first):
        control.barrier()  # what one waits for another is not the agreement's cost
        began = time.perf_counter()
        if flag:
            StopFlag().heed(control)
        else:
            control.gather_rows(row)
        timed[flag] = time.perf_counter() - began
    return timed[True], timed[False]


if __name__ == "__main__":
    main()
