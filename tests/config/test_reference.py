"""Every key is described, and the docs have the table."""

from __future__ import annotations

from pathlib import Path

from biodist.config.reference import schema_markdown
from biodist.config.schema import keys, slot_at

DOCS = Path(__file__).parents[2] / "docs" / "recipes.md"


def test_every_key_has_a_description_and_an_expectation() -> None:
    assert len(keys()) > 50
    for key in keys():
        assert key.description.endswith(".") and key.expects and key.default, key
        assert slot_at(tuple(0 if part == "N" else part for part in key.name.split("."))), key


def test_the_docs_hold_the_table_of_the_schema() -> None:
    # When this fails: `biodist recipe --schema --markdown` prints the table that docs/recipes.md must end with.
    assert DOCS.read_text("utf-8").endswith("\n\n" + schema_markdown())
