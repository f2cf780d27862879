"""``biodist data stats``: how large corpora are, how labels spread, and what needs no learning."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biodist.cli.corpus_options import CorpusFormat, TaskOfFile, corpus_source
from biodist.cli.say import out
from biodist.errors import Problem, UserError

if TYPE_CHECKING:
    from biodist.data.check import AnySource
    from biodist.data.records import Record
    from biodist.data.statistics import TextStatistics, WordStatistics


def stats(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Training first; the others are held against it.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="The files of a recipe.")] = None,
    format: Annotated[CorpusFormat, typer.Option(help="How the files are written.")] = "iob",
    task: Annotated[
        TaskOfFile | None, typer.Option(help="What JSON lines and tables are for: ner (spans), nli, classification.")
    ] = None,
    columns: Annotated[str, typer.Option(help="Where texts and label stand: text=abstract,label=class.")] = "",
    fields: Annotated[str, typer.Option(help="What fields of JSON lines with spans are called.")] = "",
    renamed: Annotated[str, typer.Option("--map", help="Renames types: DISO=Disease,MISC=O (O leaves them out).")] = "",
    multi_label: Annotated[bool, typer.Option("--multi-label", help="A sample has none, one or several.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend broken tag sequences.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Prints sizes, lengths and the spread of labels, and what two baselines get on every file but the first.

    The dictionary marks the longest names of training; the majority calls every word O, or every text the commonest
    class of training. Several training files of a recipe count as one.
    """
    if (recipe is None) == (not files):
        raise UserError(Problem("--recipe", "give either files or a recipe", "name files, or --recipe RECIPE"))
    groups = [
        (str(file), [corpus_source(file, format, task, columns, fields, "", renamed, multi_label, repair)])
        for file in files or []
    ]
    if recipe is not None:
        groups = _of_recipe(recipe)
    found = _study(groups)
    if as_json:
        typer.echo(json.dumps({"files": [one.as_json() for one in found]}, indent=2))
        return
    from biodist.cli.data_tables import statistics_tables

    for one in found:
        for table in statistics_tables(one):
            out.print(table)


def _of_recipe(name: str) -> list[tuple[str, list[AnySource]]]:
    """Training as one group, then every other file by itself."""
    from biodist.cli.data import recipe_sources
    from biodist.config.loading import load_recipe

    loaded = load_recipe(name)
    sources = recipe_sources(loaded)
    training = len(loaded.data.train)
    title = str(sources[0].path) + (f" and {training - 1} more" if training > 1 else "")
    return [(title, sources[:training]), *((str(each.path), [each]) for each in sources[training:])]


def _study(groups: list[tuple[str, list[AnySource]]]) -> list[WordStatistics | TextStatistics]:
    from itertools import chain

    from biodist.data.statistics import TextStudy, WordStudy
    from biodist.data.texts import TextReading, TextSource

    if isinstance(groups[0][1][0], TextSource):
        texts = TextStudy()
        return [
            texts.add(title, chain.from_iterable(TextReading(each) for each in sources if isinstance(each, TextSource)))
            for title, sources in groups
        ]
    words = WordStudy()
    return [words.add(title, chain.from_iterable(map(_sentences, sources))) for title, sources in groups]


def _sentences(source: AnySource) -> Iterable[Record]:
    from biodist.data.formats.source import DocumentSource
    from biodist.data.iob import Reading, Source
    from biodist.data.sentence_reading import SentenceReading

    if isinstance(source, DocumentSource):
        return SentenceReading(source)
    assert isinstance(source, Source)
    return Reading(source)
