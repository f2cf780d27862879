"""``biodist data merge``: the training corpora of a recipe as one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from biodist.cli.say import err, out

if TYPE_CHECKING:
    from biodist.data.merging import Merged


def merge(
    recipe: Annotated[str, typer.Argument(help="Recipe: a YAML file, or a name that `biodist recipes` lists.")],
    to: Annotated[Path, typer.Option("--out", help="File to write; one that is there is not replaced.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes: data.leaks=keep.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Writes the training corpora of a recipe to one tagged file: its types, without what validation and test hold.

    A line is a token, its corpus, the types that corpus annotates, and its tag (IOB2), with tabs between.
    """
    from biodist.config.loading import load_recipe
    from biodist.data.merging import merge_corpora

    merged = merge_corpora(load_recipe(recipe, overrides or ()), to)
    if as_json:
        typer.echo(json.dumps(merged.as_json(), indent=2))
        return
    out.print(_table(merged))
    if len({corpus.annotates for corpus in merged.corpora}) > 1:
        what = "the corpora annotate different types: trained on as one corpus, this file is a naive merge"
        err.print(f"notice: {what}; `biodist train` with several data.train entries knows better (data.merge)")


def _table(merged: Merged) -> Table:
    table = Table(title=Text(str(merged.path)), title_justify="left")
    table.add_column("corpus")
    for name in ("sentences", "tokens", "mentions", "left out (leaks)", "copies"):
        table.add_column(name, justify="right")
    table.add_column("annotates")
    for one in merged.corpora:
        numbers = (one.sentences, one.tokens, sum(one.mentions.values()), one.leaked, one.augmented)
        table.add_row(Text(one.name), *(f"{number:,}" for number in numbers), Text(", ".join(one.annotates)))
    return table
