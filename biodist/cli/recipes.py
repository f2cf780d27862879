"""`biodist recipes` lists the catalogue; `biodist recipe` shows one recipe, or every key a recipe can have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from biodist.config.catalogue import find_recipe, list_recipes
from biodist.config.document import read_document
from biodist.config.recipe import Recipe
from biodist.config.reference import schema_markdown
from biodist.config.schema import Schema, keys
from biodist.errors import Problem, UserError


def recipes(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the recipes that come with biodist."""
    found = list_recipes()
    if as_json:
        rows = [{"name": one.name, "task": one.task, "summary": one.summary, "path": str(one.path)} for one in found]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    show_rows(("recipe", "task", "what it trains"), [(one.name, one.task, one.summary) for one in found])


def recipe(
    name: Annotated[str | None, typer.Argument(help="A name that `biodist recipes` lists, or a path.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Every key: what it expects, default, meaning.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="With --schema: as the docs' table.")] = False,
) -> None:
    """Print a recipe, or with --schema every key that one can have."""
    if schema == (name is not None) or (markdown and not schema):
        usage = "give a recipe's name, or --schema (with --markdown or without)"
        raise UserError(Problem("biodist recipe", usage, "`biodist recipes` lists the names"))
    if name is not None:
        path = find_recipe(name)
        read_document(path, name)  # refuses what is no recipe file at all
        typer.echo(path.read_text("utf-8-sig"), nl=False)
    else:
        show_schema(Recipe, markdown)


def show_schema(schema: Schema, markdown: bool) -> None:
    """Every key of a recipe or a profile, as a table for a person or for the docs."""
    if markdown:
        typer.echo(schema_markdown(schema), nl=False)
        return
    rows = [(key.name, key.expects, key.default, key.description) for key in keys(schema)]
    show_rows(("key", "expects", "default", "meaning"), rows)


def show_rows(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A plain table; the first column is never broken."""
    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(header):
        table.add_column(title, header_style="bold", no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
