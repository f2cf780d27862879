"""``--seeds N`` of ``train`` and ``submit``, and ``biodist seeds``: one recipe with several seeds, and their spread."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biodist.cli.say import err, out
from biodist.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_MACHINE,
    EXIT_SOME,
    EXIT_STOPPED,
    EXIT_USER,
    BiodistError,
    MachineCannot,
    Problem,
    RunFailed,
    SomeFailed,
    UserError,
)

if TYPE_CHECKING:
    from biodist.cli.submission import Candidate, Wish
    from biodist.config.recipe import Recipe
    from biodist.metrics.seeds import SeedsSummary
    from biodist.run.folder import RunFolder, SeedsFolder
    from launch.local import Outcome

_MOST_SEED = 2**32 - 1
# After these no other seed begins: it would end the same way, or the user wants none.
_FOR_ALL = frozenset({EXIT_USER, EXIT_MACHINE, EXIT_STOPPED, EXIT_INTERRUPTED})


def seeds(
    folder: Annotated[Path, typer.Argument(help="Folder that `--seeds` made.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, each type or class too.")] = False,
) -> None:
    """Shows the scores of a recipe's seeds: mean, standard deviation (n - 1), 95 % interval (Student's t).

    Made of the runs' files, and kept in FOLDER/seeds.json. Only finished seeds count: exit 5 when others are there as
    well, 3 when none has finished.
    """
    from biodist.metrics.seeds import summary_of
    from biodist.run.folder import SeedsFolder

    found = SeedsFolder(folder.absolute())
    summary = summary_of(found)
    _keep(found, summary)
    if as_json:
        out.print(summary.model_dump_json(indent=2))
    else:
        _print(found, summary)
    if len(summary.finished) < len(summary.runs):
        kind = SomeFailed if summary.finished else RunFailed
        states = ", ".join(f"seed {run.seed} is {run.state}" for run in summary.runs if run.state != "finished")
        raise kind(f"{folder}: {states}; `biodist status {shlex.quote(str(folder))}` says more")


def refuse_rehearsal(count: int | None) -> None:
    """``--seeds`` with a rehearsal, which is of one run. Raises UserError."""
    if count is not None:
        raise UserError(Problem("--seeds", "is not for a rehearsal: one run tells for all", "leave one of them out"))


@dataclass(frozen=True)
class _Series:
    """A recipe with so many seeds, in a folder."""

    folder: SeedsFolder
    recipe: Recipe  # with the first seed
    seeds: range

    @classmethod
    def of(cls, name: str, overrides: tuple[str, ...], root: Path | None, count: int) -> _Series:
        """Looks, writes nothing. Raises UserError: of the recipe, or of what is in the folder already."""
        from biodist.config.core import core_digest
        from biodist.config.loading import load_recipe
        from biodist.metrics.seeds import refuse_strangers
        from biodist.run.folder import SeedsFolder, seeds_root

        recipe = load_recipe(name, overrides)
        first = recipe.train.seed
        if first + count - 1 > _MOST_SEED:
            what = f"is {count}, from train.seed {first} on, but the largest seed is {_MOST_SEED}"
            raise UserError(Problem("--seeds", what, "set a smaller train.seed"))
        root = root or seeds_root(recipe.name, core_digest(recipe))
        sensitive = recipe.data.sensitive
        folder = SeedsFolder.prepare(root, sensitive) if root.exists() else SeedsFolder(root.absolute())
        refuse_strangers(folder, recipe)
        return cls(folder, recipe, range(first, first + count))

    def unfinished(self) -> list[int]:
        """The seeds that are left to do. Raises RunFailed where a result is damaged."""
        from biodist.run.records import is_finished

        return [seed for seed in self.seeds if not is_finished(self.folder.run(seed))]


def _with_seed(overrides: tuple[str, ...], seed: int) -> tuple[str, ...]:
    """The overrides of one seed's run."""
    return (*overrides, f"train.seed={seed}")


# ---- on this machine


def train_seeds(
    name: str, overrides: tuple[str, ...], root: Path | None, count: int, nproc: int | None, device: str
) -> int:
    """What ``biodist train --seeds`` does; gives the exit code: 5 when some seeds failed, 3 when all did."""
    from biodist.cli.early_stop import early_stop

    with early_stop():
        series = _Series.of(name, overrides, root, count)
        left = series.unfinished()
        if left:
            _open(series, left, name, overrides, nproc, device)
        else:
            err.print(f"All {count} seeds are finished: nothing to do. A larger --seeds adds more.")
        codes: list[int] = []
        for number, seed in enumerate(left, start=1):
            err.print(f"seed {seed}: {number} of {len(left)} that are left")
            codes.append(_trained(series, seed, name, overrides, nproc, device))
            _keep(series.folder)
            if codes[-1] in _FOR_ALL and series.unfinished():
                return _ended(series, codes[-1])
    _print(series.folder, _keep(series.folder))
    failed = codes.count(EXIT_FAILED)
    return EXIT_DONE if not failed else EXIT_FAILED if failed == count else EXIT_SOME


def _open(
    series: _Series, left: list[int], name: str, overrides: tuple[str, ...], nproc: int | None, device: str
) -> None:
    """Once nothing more can be wrong with the input: a folder with its recipe for each seed, and the data index."""
    from biodist.cli.prepare import prepare
    from biodist.cli.train import disk_needed
    from biodist.config.writing import recipe_yaml
    from biodist.metrics.seeds import with_seed
    from biodist.run.durable import write_text
    from biodist.run.folder import RunFolder, SeedsFolder
    from biodist.run.lease import Lease

    plan = prepare(name, overrides, nproc, device).plan
    runs = [series.folder.run(seed) for seed in left]
    _refuse_small_disk(series.folder, sum(disk_needed(run, plan) for run in runs), len(runs))
    sensitive = series.recipe.data.sensitive
    SeedsFolder.prepare(series.folder.root, sensitive)
    for seed, run in zip(left, runs, strict=True):
        RunFolder.prepare(run.root, sensitive)
        if not run.recipe.exists():
            with Lease.acquire(run):
                write_text(run.recipe, recipe_yaml(with_seed(series.recipe, seed)))


def _trained(series: _Series, seed: int, name: str, overrides: tuple[str, ...], nproc: int | None, device: str) -> int:
    """One seed's run to its end; gives its exit code. Raises what stands in the way of every seed."""
    from biodist.cli.train import live_attempt

    run = series.folder.run(seed)
    try:
        folder, outcome = live_attempt(name, _with_seed(overrides, seed), run.root, nproc, device)
    except RunFailed as error:  # of what this seed has on disk: the others do not have it
        err.print(f"biodist: seed {seed}: {error}")
        return EXIT_FAILED
    if outcome is None:
        return EXIT_DONE  # another command has finished it meanwhile
    if outcome.exit_code == EXIT_DONE and _was_asked_to_stop(folder):
        return EXIT_STOPPED
    _say_ended(seed, folder, outcome)
    return outcome.exit_code


def _was_asked_to_stop(run: RunFolder) -> bool:
    """A request that comes in a seed's last moments finds nothing left to stop in it; it is for the others too."""
    from biodist.run.records import AttemptRecord

    return AttemptRecord.load(run.attempts()[-1].record).stopped_by is not None


def _say_ended(seed: int, folder: RunFolder, outcome: Outcome) -> None:
    from launch.local import first_failure_report

    if outcome.exit_code == EXIT_DONE:
        err.print(f"seed {seed}: finished")
    elif outcome.failure:
        err.print(f"biodist: seed {seed} in {folder.root} failed. {first_failure_report(outcome)}")


def _ended(series: _Series, code: int) -> int:
    if code in (EXIT_STOPPED, EXIT_INTERRUPTED):
        err.print(f"Stopped; no further seed begins. The same command goes on from there (in {series.folder.root}).")
    else:
        err.print("No further seed begins: it would end the same way. The same command goes on, once it is mended.")
    return code


# ---- on a cluster


def submit_seeds(wish: Wish, root: Path | None, count: int) -> int:
    """What ``biodist submit --seeds`` does: one array of the seeds that are neither finished nor under way."""
    from biodist.cli.submission import submit_candidates
    from biodist.run.folder import SeedsFolder

    series = _Series.of(wish.recipe, wish.overrides, root, count)
    under_way = _under_way(series)
    candidates = _candidates(series, wish, [seed for seed in series.unfinished() if seed not in under_way])
    if not candidates:
        err.print(f"Nothing to submit: of {count} seeds {len(under_way)} are under way, the others are finished.")
        return EXIT_DONE
    is_new = not series.folder.root.exists()
    SeedsFolder.prepare(series.folder.root, series.recipe.data.sensitive)
    try:
        ids = submit_candidates(list(candidates.values()))
    except BiodistError:
        if is_new:
            with suppress(OSError):  # not empty: something of it was begun
                series.folder.root.rmdir()
        raise
    _say_submitted(series, dict(zip(candidates, ids, strict=True)), next(iter(candidates.values())))
    return EXIT_DONE


def _candidates(series: _Series, wish: Wish, wanted: list[int]) -> dict[int, Candidate]:
    """What would be submitted, by seed. Raises UserError, MachineCannot."""
    from dataclasses import replace

    from biodist.cli.submission import Candidate, candidate
    from biodist.cli.train import disk_needed

    found = {}
    for seed in wanted:
        of_seed = replace(wish, overrides=_with_seed(wish.overrides, seed))
        one = candidate(of_seed, series.folder.run(seed).root)
        if isinstance(one, Candidate):
            found[seed] = one
    needed = sum(disk_needed(one.folder, one.plan) for one in found.values())
    _refuse_small_disk(series.folder, needed, len(found))
    return found


def _under_way(series: _Series) -> set[int]:
    """The seeds that somebody works on, or will: they are left alone, aloud. Raises MachineCannot without Slurm."""
    from biodist.cli.standings import survey

    begun = [seed for seed in series.seeds if series.folder.run(seed).is_run()]
    found = survey([series.folder.run(seed).root for seed in begun])
    if found.no_slurm is not None:
        raise found.no_slurm
    standings = {seed: seen.standing for seed, seen in zip(begun, found.runs, strict=True)}
    under_way = {seed: standing for seed, standing in standings.items() if standing is not None and standing.under_way}
    for seed, standing in under_way.items():
        err.print(
            f"seed {seed} is {standing.state} already{f' (job {standing.job})' if standing.job else ''}, left out"
        )
    return set(under_way)


def _say_submitted(series: _Series, jobs: dict[int, str], one: Candidate) -> None:
    from launch.slurm.grace import grace_notice

    plan, root = one.plan, shlex.quote(str(series.folder.root))
    for notice in (*plan.notices, *grace_notice(one.folder, plan.profile)):
        err.print(f"note: {notice}")
    out.print(f"{'seeds':<8}{series.folder.root}")
    machine = plan.machine
    for seed, job_id in jobs.items():
        out.print(f"{'job':<8}{job_id}: seed {seed} ({machine.nodes} × {machine.processes_per_node} processes)")
    for name, command in {"status": "status", "table": "seeds", "cancel": "cancel"}.items():
        out.print(f"{name:<8}biodist {command} {root}")
    out.print(f"{'logs':<8}biodist logs {shlex.quote(str(one.folder.root))} --follow")


# ---- what they come to


def _keep(folder: SeedsFolder, summary: SeedsSummary | None = None) -> SeedsSummary:
    """Brings `seeds.json` up to date. A folder that cannot be written is said, and changes nothing else."""
    from biodist.metrics.seeds import summary_of

    summary = summary or summary_of(folder)
    try:
        summary.save(folder.summary)
    except OSError as error:
        err.print(f"{folder.summary}: could not be brought up to date: {error}")
    return summary


def _print(folder: SeedsFolder, summary: SeedsSummary) -> None:
    from biodist.cli.seeds_table import print_seeds

    print_seeds(out, summary, folder.root)


def _refuse_small_disk(folder: SeedsFolder, needed: int, runs: int) -> None:
    """Room for all seeds is found out before the first one begins. `needed` is in bytes. Raises MachineCannot."""
    from biodist.cli.train import disk_free

    free = disk_free(folder.root)
    if needed > free:
        raise MachineCannot(
            f"{folder.root}: the disk has {free / 1e9:.2f} GB free, and {runs} seeds need {needed / 1e9:.2f} GB. Make "
            "room, name another disk with --run, or keep fewer checkpoints (checkpoint.keep_last=1)"
        )
