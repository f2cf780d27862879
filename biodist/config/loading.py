"""From a recipe's name to the recipe, or to everything that is wrong with it; the same for other schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import ValidationError

from biodist.config.catalogue import find_recipe
from biodist.config.document import Document, KeyPath, read_document
from biodist.config.files import located, missing_files
from biodist.config.findings import Finding, schema_findings, undoubted
from biodist.config.overrides import overridden
from biodist.config.readiness import not_ready
from biodist.config.recipe import Recipe
from biodist.config.rules import broken_rules
from biodist.config.salvage import Stated, salvaged
from biodist.config.transfer import transferred
from biodist.errors import Problem, UserError


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = (), check_files: bool = True) -> Recipe:
    """The recipe of a file, or of the catalogue, with the overrides in place and every path absolute.

    ``check_files=False`` leaves it open whether the corpora and the model's folder are there. Raises UserError that
    lists every problem: of the file, the overrides, the schema, the rules between keys, what this version does not
    do yet, and missing files.
    """
    path = find_recipe(name_or_path)
    source = str(path) if path == Path(name_or_path) else path.name
    return recipe_of(overridden(read_document(path, source), overrides), check_files)


def recipe_of(document: Document, check_files: bool = True) -> Recipe:
    """The recipe that a document states. Raises UserError that lists every problem."""

    def rules(recipe: Recipe) -> Iterable[Finding]:
        files = missing_files(recipe) if check_files else ()
        return [*broken_rules(recipe), *not_ready(recipe), *files]

    return transferred(located(stated(document, Recipe, rules)))


def stated(document: Document, schema: type[Stated], rules: Callable[[Stated], Iterable[Finding]]) -> Stated:
    """What a document states by this schema and these rules. Raises UserError that lists every problem."""
    problems = list(document.problems)
    doubtful: frozenset[KeyPath] = frozenset()
    found: Stated | None
    try:
        found = schema.model_validate(document.values)
    except ValidationError as error:
        problems += [finding.problem(document) for finding in schema_findings(error, schema)]
        found, doubtful = salvaged(document.values, error, schema)
    if found is not None:
        problems += [finding.problem(document) for finding in undoubted(rules(found), doubtful)]
    if problems or found is None:
        raise UserError(_unrepeated(problems))
    return found


def _unrepeated(problems: list[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))
