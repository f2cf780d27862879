"""`biodist profiles` lists where one can train; `biodist profile` shows one profile, or every key it can have."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biodist.errors import Problem, UserError

if TYPE_CHECKING:
    from biodist.config.profile import Profile


def own_profiles() -> Path:
    """Where the user's profiles lie: `biodist/profiles` in `XDG_CONFIG_HOME`, else in `~/.config`."""
    shared = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    # A relative XDG_CONFIG_HOME is to be ignored (XDG base directory specification).
    return (shared if shared.is_absolute() else Path.home() / ".config") / "biodist" / "profiles"


def named_profile(name_or_path: str) -> Profile:
    """What `--on` names. Raises UserError that lists every problem."""
    from biodist.config.profiles import load_profile

    return load_profile(name_or_path, own=own_profiles())


def profiles(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the profiles of clusters: those that come with biodist, and your own."""
    from biodist.cli.recipes import show_rows
    from biodist.config.profiles import list_profiles

    found = list_profiles(own_profiles())
    if as_json:
        rows = [{"name": one.name, "summary": one.summary, "own": one.is_own, "path": str(one.path)} for one in found]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    origin = {True: "your own", False: "biodist"}
    show_rows(("profile", "of", "where it trains"), [(one.name, origin[one.is_own], one.summary) for one in found])


def profile(
    name: Annotated[str | None, typer.Argument(help="A name that `biodist profiles` lists, or a path.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Every key: what it expects, default, meaning.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="With --schema: as the docs' table.")] = False,
) -> None:
    """Print a profile, or with --schema every key that one can have."""
    from biodist.cli.recipes import show_schema
    from biodist.config.document import read_document
    from biodist.config.profile import Profile
    from biodist.config.profiles import find_profile

    if schema == (name is not None) or (markdown and not schema):
        usage = "give a profile's name, or --schema (with --markdown or without)"
        raise UserError(Problem("biodist profile", usage, "`biodist profiles` lists the names"))
    if name is None:
        show_schema(Profile, markdown)
        return
    path = find_profile(name, own_profiles())
    read_document(path)  # refuses what is no profile at all
    typer.echo(path.read_text("utf-8-sig"), nl=False)
