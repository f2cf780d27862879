"""The table of every key, for `docs/recipes.md` and `docs/profiles.md`."""

from __future__ import annotations

from biodist.config.recipe import Recipe
from biodist.config.schema import Schema, keys


def schema_markdown(schema: Schema = Recipe) -> str:
    """Every key with what it expects, its default and what it means, as a Markdown table."""
    rows = [("key", "expects", "default", "meaning"), ("---", "---", "---", "---")]
    rows += [(f"`{key.name}`", key.expects, _code(key.default), key.description) for key in keys(schema)]
    return "".join("| " + " | ".join(_cell(text) for text in row) + " |\n" for row in rows)


def _code(default: str) -> str:
    return default if default in ("required", "absent") else f"`{default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
