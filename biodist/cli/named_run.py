"""The run that a command was given: a folder, and never a job's number alone."""

from __future__ import annotations

from pathlib import Path

from biodist.errors import Problem, UserError
from biodist.run.folder import RunFolder


def named_run(path: Path) -> RunFolder:
    """The run in this folder. Raises UserError when there is none."""
    run = RunFolder(path.absolute())
    if not run.is_run():
        do = "name a folder that `biodist train` or `biodist submit` made"
        if path.name.isdigit() and not path.exists():
            do = "a run is named by its folder, not by a job's number; `biodist status` lists those under runs/"
        raise UserError(Problem(str(path), "is no run's folder", do))
    return run
