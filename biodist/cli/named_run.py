"""The runs that a command was given: by their folders, and never by a job's number alone."""

from __future__ import annotations

from pathlib import Path

from biodist.errors import Problem, UserError
from biodist.run.folder import RunFolder, SeedsFolder
from biodist.run.sweep_folder import SweepFolder


def named_runs(path: Path) -> list[Path]:
    """The run in this folder, or those of its seeds or of a sweep's trials. Raises UserError when there is none."""
    if RunFolder(path.absolute()).is_run():
        return [path]
    if of_seeds := [path / run.root.name for run in SeedsFolder(path.absolute()).runs() if run.is_run()]:
        return of_seeds
    folder = SweepFolder(path.absolute())
    if folder.is_sweep():
        return [path / "trials" / key for key in folder.trial_keys() if folder.trial(key).is_run()]
    return [named_run(path).root]  # which says what is wrong


def named_run(path: Path) -> RunFolder:
    """The run in this folder. Raises UserError when there is none, or one of each of several seeds."""
    run = RunFolder(path.absolute())
    if not run.is_run():
        if seeds := SeedsFolder(run.root).runs():
            what = f"holds {len(seeds)} seeds of a recipe, each a run, not one run"
            do = f"name one, as {path / seeds[0].root.name}; the command that began them all goes on with all of them"
            raise UserError(Problem(str(path), what, do))
        do = "name a folder that `biodist train` or `biodist submit` made"
        if path.name.isdigit() and not path.exists():
            do = "a run is named by its folder, not by a job's number; `biodist status` lists those under runs/"
        raise UserError(Problem(str(path), "is no run's folder", do))
    return run
