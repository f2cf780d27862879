"""``biodist sweep --promote``: the best configurations again, with fresh seeds, and the test split read once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from biodist.cli.say import err, out
from biodist.cli.sweep import found_sweep, read_search
from biodist.cli.sweep_table import headline
from biodist.config.space import Settings, overrides, written
from biodist.errors import EXIT_DONE, EXIT_FAILED, EXIT_SOME, Problem, RunFailed, UserError
from biodist.metrics.seeds import SeedsSummary, summary_of
from biodist.sweeps.place import Place
from biodist.sweeps.results import ranked

if TYPE_CHECKING:
    from biodist.config.sweep_loading import StatedSweep
    from biodist.run.folder import SeedsFolder
    from biodist.run.sweep_folder import SweepFolder
    from biodist.sweeps.search import Search

DEFAULT = "default"  # the recipe itself
_GO_ON = frozenset({EXIT_DONE, EXIT_FAILED, EXIT_SOME})  # after any other code no further configuration begins


@dataclass(frozen=True)
class _Promoted:
    """A configuration that is run anew."""

    name: str
    settings: Settings
    folder: SeedsFolder


def promote_best(root: Path, count: int, seeds: int, default: bool) -> int:
    """Runs them where the sweep ran; gives the exit code. The same command goes on with what is unfinished.

    Raises UserError where there is no sweep or it is not over, RunFailed where it has no finished trial.
    """
    stated, folder = found_sweep(root)
    place, search = Place.load(folder.place), read_search(stated, folder)
    chosen = _chosen(folder, search, count)
    if default:
        chosen.append(_Promoted(DEFAULT, {}, folder.seeds_of(DEFAULT)))
    folder.promoted.mkdir(exist_ok=True)
    fresh = fresh_seeds(search, seeds)
    codes: list[int] = []
    for one in chosen:
        codes.append(_run(folder, place, one, fresh))
        if codes[-1] not in _GO_ON:
            break
    _print(stated, chosen)
    if codes[-1] not in _GO_ON:
        return codes[-1]
    failed = sum(code != EXIT_DONE for code in codes)
    return EXIT_DONE if not failed else EXIT_FAILED if failed == len(codes) else EXIT_SOME


def fresh_seeds(search: Search, count: int) -> range:
    """Seeds that no trial had, also where the seed itself is searched."""
    first = max(trial.seed for trial in search.trials.values()) + 1
    return range(first, first + count)


def _chosen(folder: SweepFolder, search: Search, count: int) -> list[_Promoted]:
    from launch.standing import living_holder

    if search.open or living_holder(folder.driver) is not None:
        do = f"finish it first: biodist sweep --resume {folder.root}"
        raise UserError(Problem(str(folder.root), f"the sweep is not over: {headline(search)}", do))
    found = ranked(search)
    if not found:
        raise RunFailed(f"{folder.root}: no trial has finished with a score, so none is the best")
    if len(found) < count:
        what = f"asks for {count} configurations, but {len(found)} have finished"
        raise UserError(Problem("--promote", what, f"promote {len(found)} or fewer"))
    return [_Promoted(one.name, one.settings, folder.seeds_of(one.name)) for one in found[:count]]


def _run(folder: SweepFolder, place: Place, one: _Promoted, seeds: range) -> int:
    """Its seeds, none of which a trial has seen; scored as the recipe says, test included."""
    from biodist.cli.seeds import submit_seeds, train_seeds
    from biodist.cli.submission import Wish

    words = overrides({**one.settings, "train.seed": seeds.start})
    settings = ", ".join(f"{key}={written(value)}" for key, value in one.settings.items()) or "the recipe itself"
    err.print(f"{one.name}: {settings}")
    recipe = str(folder.recipe)
    if place.kind == "slurm":
        assert place.on is not None
        return submit_seeds(Wish(recipe, words, place.on, place.nodes, place.nproc), one.folder.root, len(seeds))
    return train_seeds(recipe, words, one.folder.root, len(seeds), place.nproc, place.device)


def _print(stated: StatedSweep, chosen: list[_Promoted]) -> None:
    """Promoted configurations side by side, on test and on validation. Whose seeds have not finished has no line."""
    from rich.table import Table
    from rich.text import Text

    metric = stated.sweep.metric
    table = Table(box=None, pad_edge=False, title=f"{metric}, fresh seeds", title_justify="left")
    for name in ("configuration", "split", "mean ± sd", "95 % interval", "n"):
        table.add_column(name, justify="left" if name in ("configuration", "split") else "right")
    for one in chosen:
        for score in _spreads(summary_of(one.folder), metric) if one.folder.holds_seeds() else ():
            table.add_row(Text(one.name), *score)
    out.print(table, crop=False)


def _spreads(summary: SeedsSummary, metric: str) -> list[tuple[str, str, str, str]]:
    found = [score for score in summary.scores if score.score == metric and score.label is None]
    return [
        (
            score.split,
            f"{score.mean:.4f}" + ("" if score.deviation is None else f" ± {score.deviation:.4f}"),
            "" if score.low is None or score.high is None else f"{score.low:.4f} to {score.high:.4f}",
            str(score.n),
        )
        for score in found
    ]
