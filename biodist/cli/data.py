"""``biodist data``: what is in a corpus, before a job finds out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biodist.cli.corpus_options import CorpusFormat, TaskOfFile, corpus_source
from biodist.cli.data_convert import convert
from biodist.cli.data_merge import merge
from biodist.cli.data_stats import stats
from biodist.cli.say import err, out
from biodist.errors import Problem, UserError

if TYPE_CHECKING:
    from biodist.config.recipe import Recipe
    from biodist.data.check import AnyReport, AnySource
    from biodist.data.leaks import Leak

data_app = typer.Typer(no_args_is_help=True)
data_app.command()(merge)
data_app.command()(stats)
data_app.command()(convert)

FAR_FROM_EVEN = 50.0  # times as many of the commonest label: worth a notice


@data_app.callback()
def _data() -> None:
    """Reads, validates and counts corpora."""


@dataclass(frozen=True)
class SplitWindows:
    """What `data.max_length` makes of a split: ``several`` samples do not fit one window, ``truncated`` are cut."""

    samples: int
    several: int
    truncated: int
    windows: int
    tokens: int
    longest: int


@data_app.command()
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="The files to check; also a folder or hub id.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Check the files of a recipe, with its tokenizer.")] = None,
    format: Annotated[CorpusFormat, typer.Option(help="How the files are written.")] = "iob",
    task: Annotated[
        TaskOfFile | None,
        typer.Option(help="What JSON lines and tables are for: ner (spans), nli, or classification; nli when absent."),
    ] = None,
    columns: Annotated[
        str,
        typer.Option(help="Where texts and label stand: text=abstract,label=class (also second, id); else as usual."),
    ] = "",
    fields: Annotated[
        str, typer.Option(help="What fields of JSON lines with spans are called: entities=spans,type=label.")
    ] = "",
    labels: Annotated[str, typer.Option(help="Types or classes it may hold, with commas between; else any.")] = "",
    renamed: Annotated[str, typer.Option("--map", help="Renames types: DISO=Disease,MISC=O (O leaves them out).")] = "",
    multi_label: Annotated[bool, typer.Option("--multi-label", help="A sample has none, one or several.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend broken tag sequences and count them, as data.repair does.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Counts corpus files and lists everything wrong with them; exits 2 where one cannot be trained on.

    Of several files, and of a recipe's, the sentences and documents that two of them share are counted as well; of
    texts and pairs the samples.
    """
    from biodist.data.check import check_any
    from biodist.data.leaks import LeakCheck, leaks_as_json

    loaded = _loaded(recipe, files or [])
    sources: list[AnySource] = [
        corpus_source(file, format, task, columns, fields, labels, renamed, multi_label, repair) for file in files or []
    ]
    if loaded is not None:
        sources = recipe_sources(loaded)
    leaks = LeakCheck() if len(sources) > 1 else None
    reports = [check_any(source, leaks) for source in sources]
    problems = [problem for report in reports for problem in report.problems]
    found = leaks.leaks() if leaks is not None else ()
    if not as_json:  # before the windows are made: the encoder's tokenizer may be missing
        _print(reports)
        _print_leaks(found)
    windows = _windows(loaded) if loaded is not None and not problems else {}
    if as_json:
        written: dict[str, Any] = reports[0].as_json() if len(reports) == 1 else {}
        if len(reports) != 1:
            written["files"] = [report.as_json() for report in reports]
        written["leaks"] = leaks_as_json(found)
        if loaded is not None:
            written["windows"] = {split: asdict(each) for split, each in windows.items()}
        typer.echo(json.dumps(written, indent=2))
    elif loaded is not None and windows:
        _print_windows(windows, loaded.data.max_length)
    if problems:
        raise UserError(problems)


def recipe_sources(recipe: Recipe) -> list[AnySource]:
    """Every file of a recipe, as training reads it."""
    from biodist.config.corpora import TEXT_TASKS, entries
    from biodist.data.fingerprint import text_source, word_source

    is_text = recipe.task in TEXT_TASKS
    return [text_source(recipe, entry) if is_text else word_source(recipe, entry) for _, entry in entries(recipe.data)]


def _loaded(recipe: str | None, files: list[Path]) -> Recipe | None:
    if (recipe is None) == (not files):
        what = "neither a file nor a recipe is given" if recipe is None else "is given beside files"
        raise UserError(Problem("--recipe", what, "name files, or --recipe RECIPE"))
    if recipe is None:
        return None
    from biodist.config.loading import load_recipe

    return load_recipe(recipe)


def _windows(recipe: Recipe) -> dict[str, SplitWindows]:
    """What the recipe's tokenizer and `data.max_length` make of each split; builds the data index for it."""
    import numpy as np

    from biodist.cli.prepare import data_index
    from biodist.config.corpora import asked_views
    from biodist.data.selection import TRAIN
    from biodist.data.store import SampleStore

    index = data_index(recipe)
    found = {}
    for split, counted in index.splits.items():
        passes = 1 if split == TRAIN else len(asked_views(recipe.data))
        several = int(np.count_nonzero(np.diff(SampleStore.open(index, split).first_window) > passes))
        numbers = (counted.samples, several, counted.truncated, counted.windows, counted.tokens, counted.longest)
        found[split] = SplitWindows(*numbers)
    return found


def _print(reports: Iterable[AnyReport]) -> None:
    from biodist.cli.data_tables import check_table
    from biodist.data.check import imbalance

    for report in reports:
        out.print(check_table(report))
        path, declared = report.source.path, report.source.declared
        absent = [name for name in declared or () if name not in report.labelled]
        if absent:
            err.print(f"notice: {path}: {', '.join(absent)} never occurs")
        times = imbalance(report.labelled)
        if times is not None and times > FAR_FROM_EVEN:
            err.print(f"notice: {path}: the commonest label occurs {times:,.0f} times as often as the rarest")
        for first, other in report.repeats.lines:
            err.print(f"notice: {path}:{other}: the sample of line {first} again, labelled otherwise")


def _print_leaks(leaks: Sequence[Leak]) -> None:
    from biodist.cli.data_tables import leak_table

    if leaks:
        out.print(leak_table(leaks))


def _print_windows(windows: Mapping[str, SplitWindows], max_length: int) -> None:
    from biodist.cli.data_tables import window_table

    out.print(window_table(windows, max_length))
