"""``biodist sweep``: searches a recipe's keys, trial by trial, here or on a cluster."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biodist.cli.say import err, out
from biodist.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_SOME,
    EXIT_STOPPED,
    Problem,
    RunFailed,
    UserError,
)

FRESH_SEEDS = 3  # of a promoted configuration, unless --seeds says otherwise
_OUT = "leave it out"

if TYPE_CHECKING:
    from biodist.config.sweep_loading import StatedSweep
    from biodist.run.lease import Lease
    from biodist.run.sweep_folder import SweepFolder
    from biodist.sweeps.place import Place
    from biodist.sweeps.search import Search


def sweep(
    sweep: Annotated[
        str | None, typer.Argument(help="Sweep: a YAML file, or sweeps/NAME; with --promote a sweep's folder.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Changes: search.trials=8, or of the recipe: train.epochs=2."),
    ] = None,
    on: Annotated[str | None, typer.Option(help="Profile: trials are jobs of their own; ray: a Ray cluster.")] = None,
    run: Annotated[Path | None, typer.Option(help="Sweep folder; runs/<name>-<search>-sweep when not given.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes of a trial, with --on.")] = None,
    nproc: Annotated[int | None, typer.Option(min=1, help="Processes of a trial, on each node.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; on this machine.")] = "auto",
    resume: Annotated[Path | None, typer.Option(help="Goes on with the sweep in this folder, where it ran.")] = None,
    promote: Annotated[
        int | None, typer.Option(min=1, help="Runs the best so many of a finished sweep anew, and reads test once.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="With --promote: fresh seeds of each; 3.")] = None,
    default: Annotated[bool, typer.Option("--default", help="With --promote: the recipe itself as well.")] = False,
    driver_on: Annotated[str | None, typer.Option(help="Profile: the sweep itself is a job, and requeued.")] = None,
) -> None:
    """Searches keys of a recipe for the best score on validation. The same command goes on with an unfinished sweep.

    Exit 0 when every trial has ended well, 5 when some failed, 3 when all did, 75 when it was stopped.
    """
    words = tuple(overrides or ())
    placed = {
        "--on": on,
        "--run": run,
        "--nodes": nodes,
        "--nproc": nproc,
        "--device": device if device != "auto" else None,
    }
    asked = {"--promote": promote, "--resume": resume, "--seeds": seeds, "--default": default or None}
    _refuse_idle([name for name, value in {**placed, **asked, "--driver-on": driver_on}.items() if value is not None])
    if promote is not None:
        from biodist.cli.sweep_promotion import promote_best

        if words:
            raise UserError(Problem("--promote", f"runs trials as they were, but {words[0]} is given", "leave it out"))
        root = Path(_named(sweep, "--promote", "a sweep's folder"))
        raise typer.Exit(promote_best(root, promote, seeds or FRESH_SEEDS, default))
    if resume is not None:
        if sweep is not None or words:
            what = f"goes on with {resume} as it is, but {sweep} is named as well"
            raise UserError(Problem("--resume", what, "leave one of the two out"))
        stated, folder, place = _found(resume)
    else:
        name = _named(sweep, "biodist sweep", "a sweep")
        stated, folder, place = _wanted(name, words, run, place_of(on, nodes, nproc, device))
    if driver_on is not None:
        from biodist.cli.sweep_job import submit_driver

        raise typer.Exit(submit_driver(stated, folder, place, driver_on))
    raise typer.Exit(drive(stated, folder, place))


def _refuse_idle(given: Sequence[str]) -> None:
    """Options that would say nothing beside the others. Raises UserError, with each."""
    known: tuple[str, ...] = ("--on", "--run", "--nodes", "--nproc", "--device", "--driver-on")
    why, do = "is for --promote", "leave it out; seeds of each configuration: search.seeds=3"
    if "--promote" in given:
        known, why, do = (
            ("--promote", "--seeds", "--default"),
            "is not for --promote: it runs where the sweep ran",
            _OUT,
        )
    elif "--resume" in given:
        known, why, do = ("--resume", "--driver-on"), "is not for --resume: the sweep goes on as it was begun", _OUT
    if idle := [name for name in given if name not in known]:
        raise UserError(Problem(name, why, do) for name in idle)


def _named(name: str | None, option: str, what: str) -> str:
    if name is None:
        raise UserError(Problem(option, f"names no {what.removeprefix('a ')}", f"name {what}"))
    return name


def place_of(on: str | None, nodes: int | None, nproc: int | None, device: str) -> Place:
    from biodist.sweeps.place import RAY, Place

    kind = "local" if on is None else "ray" if on == RAY else "slurm"
    return Place(kind=kind, on=on, nodes=nodes, nproc=nproc, device=device)


def _wanted(
    name: str, words: tuple[str, ...], root: Path | None, place: Place
) -> tuple[StatedSweep, SweepFolder, Place]:
    """A sweep by its file; on an unfinished one's folder it goes on. Writes nothing. Raises UserError."""
    from biodist.config.sweep_loading import load_sweep
    from biodist.run.sweep_folder import SweepFolder, sweep_root

    stated = load_sweep(name, words)
    folder = SweepFolder((root or sweep_root(stated.sweep.name, stated.digest)).absolute())
    if folder.root.exists():
        SweepFolder.prepare(folder.root, stated.recipe.data.sensitive)
        refuse_other_sweep(folder, stated)
        refuse_other_place(folder, place)
    return stated, folder, place


def refuse_other_place(folder: SweepFolder, place: Place) -> None:
    """Trials that are under way keep their place: from another one nobody would see them. Raises UserError."""
    from biodist.sweeps.ledger import Ended, Started, read_ledger
    from biodist.sweeps.place import Place

    if not folder.place.exists():
        return
    theirs = Place.load(folder.place)
    events = list(read_ledger(folder.ledger))
    begun = {event.key for event in events if isinstance(event, Started)}
    left = begun - {event.key for event in events if isinstance(event, Ended)}
    if left and (theirs.kind, theirs.on) != (place.kind, place.on):
        what = f"{len(left)} trials were begun {theirs.where}, and are not over; this asks for trials {place.where}"
        do = f"go on there: biodist sweep --resume {shlex.quote(str(folder.root))}; or begin a new sweep with --run"
        raise UserError(Problem(str(folder.root), what, do))


def _found(root: Path) -> tuple[StatedSweep, SweepFolder, Place]:
    """The sweep in a folder, as it was begun. Raises UserError where there is none."""
    from biodist.sweeps.place import Place

    stated, folder = found_sweep(root)
    return stated, folder, Place.load(folder.place)


def found_sweep(root: Path) -> tuple[StatedSweep, SweepFolder]:
    """The sweep in a folder. Raises UserError where there is none."""
    from biodist.config.sweep_loading import load_sweep
    from biodist.run.sweep_folder import SweepFolder

    folder = SweepFolder(root.absolute())
    if not (folder.sweep.exists() and folder.place.exists()):
        raise UserError(Problem(str(root), "is no sweep's folder", "name one that `biodist sweep` made"))
    return load_sweep(folder.sweep, recipe=folder.recipe), folder


def refuse_other_sweep(folder: SweepFolder, stated: StatedSweep) -> None:
    """A folder keeps the sweep it began with; its budget alone may change. Raises UserError, with each key."""
    from biodist.config.sweep_loading import differences, load_sweep

    if not folder.sweep.exists():
        return
    theirs = load_sweep(folder.sweep, recipe=folder.recipe, check_files=False)
    if found := differences(theirs, stated):
        do = "leave it as it was, or begin a new sweep with --run ANOTHER_FOLDER"
        raise UserError(Problem(str(folder.root), f"is another sweep's folder: {key}", do) for key in found)


def drive(stated: StatedSweep, folder: SweepFolder, place: Place) -> int:
    """One driver's time at a sweep; gives the exit code."""
    from biodist.cli.sweep_places import at, pace_of
    from biodist.cli.sweep_table import SweepBoard
    from biodist.sweeps.driver import Driver
    from biodist.sweeps.keeping import Keeping
    from biodist.sweeps.searchers import quieten

    site = at(stated, folder, place)
    pace = pace_of(stated, site.plan, place)
    quieten()
    with driver_lease(stated, folder) as lease:
        write_down(stated, folder, place)
        err.print(f"sweep {folder.root}: {site.line}")
        keeping = Keeping(folder, stated, err.print)
        with SweepBoard(err) as board:

            def changed(search: Search) -> None:
                board.changed(search)
                keeping.changed(search)

            driver = Driver(folder, stated, pace, site.backend, lease, changed, board.say)
            began = time.monotonic()
            ending = driver.run()
        keeping.settle(driver.search)
    writing, whole = driver.ledger.seconds + keeping.seconds, time.monotonic() - began
    err.print(f"ledger and tables were written in {writing:.2f} s of {whole:.1f} s")
    if ending == "done":
        return conclude(folder, driver.search)
    go_on = f"biodist sweep --resume {shlex.quote(str(folder.root))}"
    left = "" if site.backend.ends_with_driver else f"; its jobs go on: end them with `biodist cancel {folder.root}`"
    err.print(f"Stopped{left}. Go on with: {go_on}")
    return EXIT_INTERRUPTED if ending == "interrupted" else EXIT_STOPPED


def driver_lease(stated: StatedSweep, folder: SweepFolder) -> Lease:
    """The right to drive this sweep. Raises RunHeld (exit 4) while another driver lives."""
    from biodist.run.lease import Lease, RunHeld
    from biodist.run.sweep_folder import SweepFolder
    from launch.slurm.driver_job import this_job

    SweepFolder.prepare(folder.root, stated.recipe.data.sensitive)
    job, restart = this_job()
    try:
        return Lease.acquire(folder.driver, job=job, restart=restart)
    except RunHeld as held:
        raise RunHeld(f"another driver is at work on this sweep: {held}") from None


def write_down(stated: StatedSweep, folder: SweepFolder, place: Place) -> None:
    """All that another driver needs to go on, before anything is started. The recipe stays as it was begun with."""
    from biodist.config.writing import recipe_yaml, sweep_yaml
    from biodist.run.durable import write_text

    if not folder.sweep.exists():  # written last: with it the sweep is begun
        write_text(folder.recipe, recipe_yaml(stated.recipe))
    place.save(folder.place)
    write_text(folder.sweep, sweep_yaml(stated.sweep))


def conclude(folder: SweepFolder, search: Search) -> int:
    """The final table, why trials failed, and what to do next; gives the exit code."""
    from biodist.cli.sweep_table import failures, headline, trial_table
    from biodist.sweeps.results import ranked

    out.print(trial_table(search), crop=False)
    out.print(headline(search))
    for line in failures(search):
        err.print(f"biodist: {line}")
    root = shlex.quote(str(folder.root))
    if ranked(search):
        out.print(f"best recipe: {folder.best}")
        out.print(f"test it with fresh seeds: biodist sweep --promote 1 --seeds 3 {root}")
    failed = sum(trial.end == "failed" for trial in search.trials.values())
    if not failed:
        return EXIT_DONE
    err.print(f"biodist: {failed} of {len(search.trials)} trials failed; their logs: {folder.logs}")
    return EXIT_FAILED if failed == len(search.trials) else EXIT_SOME


def read_search(stated: StatedSweep, folder: SweepFolder) -> Search:
    """The search as its ledger has it. Raises RunFailed where nothing was begun."""
    from biodist.sweeps.ledger import read_ledger
    from biodist.sweeps.schedulers import Pace
    from biodist.sweeps.search import Search

    search = Search.begin(stated.sweep, stated.recipe, Pace(1, 1), read_ledger(folder.ledger))
    if not search.trials:
        raise RunFailed(f"{folder.root}: no trial was begun; go on with `biodist sweep --resume {folder.root}`")
    return search
