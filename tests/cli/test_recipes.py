"""`biodist recipes` and `biodist recipe`, in an application of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from biodist.cli.recipes import recipe, recipes
from biodist.config.catalogue import catalogue_folder
from biodist.config.reference import schema_markdown
from biodist.config.schema import keys
from biodist.errors import UserError

app = typer.Typer()
app.command()(recipes)
app.command()(recipe)


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_recipes_are_listed_with_task_and_summary() -> None:
    line = next(line for line in said("recipes").splitlines() if line.startswith("ncbi-disease"))
    assert " ner " in line and "BioLinkBERT-large" in line


def test_json_names_the_files() -> None:
    rows = json.loads(said("recipes", "--json"))
    assert {row["name"] for row in rows} >= {"ncbi-disease"}
    assert all(set(row) == {"name", "task", "summary", "path"} and Path(row["path"]).is_file() for row in rows)


def test_a_recipe_is_printed_as_it_is() -> None:
    assert said("recipe", "ncbi-disease") == (catalogue_folder() / "ncbi-disease.yaml").read_text("utf-8")


def test_the_schema_shows_every_key() -> None:
    shown = {line.split(" ")[0] for line in said("recipe", "--schema").splitlines()}
    assert {key.name for key in keys()} <= shown
    assert said("recipe", "--schema", "--markdown") == schema_markdown()


@pytest.mark.parametrize("arguments", [[], ["ncbi-disease", "--schema"], ["ncbi-disease", "--markdown"], ["none"]])
def test_other_uses_are_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError):
        CliRunner().invoke(app, ["recipe", *arguments], catch_exceptions=False)
