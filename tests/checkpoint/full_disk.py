"""The program of a rank that saves three times; at the second the system lets rank 1 write 64 kB alone.

``python full_disk.py FOLDER RANK WORLD_SIZE PARENT``, as the test's groups of processes start it.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path

import torch

from biodist.checkpoint.fragments import training_state
from biodist.checkpoint.manifest import Cursor
from biodist.checkpoint.saving import Moment, save
from biodist.errors import BiodistError
from biodist.plan.plan import Plan
from biodist.run.tether import tether
from biodist.training.group import Control, process_group
from biodist.training.placement import Placement
from biodist.training.worker import end

LIMIT_BYTES = 64 * 1024


def main() -> None:
    folder, rank, world_size, parent = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    tether(parent)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing too much is an error then, not a signal
    argument = json.loads((folder / "argument.json").read_text())
    checkpoints = Path(argument["checkpoints"])
    placement = Placement(folder, rank, rank, world_size, f"file://{folder}/rendezvous", "", parent)
    with process_group(Plan.model_validate(argument["plan"]), placement) as control:
        said = {"before": attempt(checkpoints, 1, control)}
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
        said["full"] = attempt(checkpoints, 2, control)
        if rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        control.barrier()
        left = sorted(path.name for path in checkpoints.iterdir())
        control.barrier()
        said["after"] = attempt(checkpoints, 3, control)
    (folder / f"result-{rank}.json").write_text(json.dumps({**said, "left": left}))


def attempt(checkpoints: Path, step: int, control: Control) -> str:
    """Saves a state of half a megabyte a rank; says how it went."""
    parameters = {"x": torch.nn.Parameter(torch.full((40_000 * control.world_size,), float(step)))}
    adam = torch.optim.AdamW(parameters.values())
    state = training_state("ddp", parameters, adam, control.rank, control.world_size)
    moment = Moment(step, Cursor(epoch=1, step_of_epoch=step), 1, "ddp", "core", "data")
    try:
        save(checkpoints, moment, state.share(), control)
    except BiodistError as error:
        return f"{type(error).__name__}: {error}"
    return "published"


if __name__ == "__main__":
    main()
    end(0)
