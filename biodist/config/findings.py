"""What is wrong with the values of a recipe or profile, by key; `Document.place` gives the key's file and line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from biodist.config.document import Document, KeyPath, dotted
from biodist.config.recipe import Recipe
from biodist.config.schema import Schema, expects, kind, nearest, slot_at
from biodist.errors import Problem

LONGEST_SHOWN = 240  # characters of a value quoted in a message


@dataclass(frozen=True)
class Finding:
    """One broken rule. ``about`` are the keys it follows from, the first the one to name."""

    about: tuple[KeyPath, ...]
    what: str
    do: str = ""

    def problem(self, document: Document) -> Problem:
        return Problem(document.place(self.about[0]), self.what, self.do)


def schema_findings(error: ValidationError, schema: Schema = Recipe) -> list[Finding]:
    """Pydantic's errors as sentences, one for each key (a union gives one error for each of its options)."""
    findings: dict[KeyPath, Finding] = {}
    for details in errors_of(error):
        path = key_of(details, schema)
        findings.setdefault(path, _finding(details, path, schema))
    return list(findings.values())


def errors_of(error: ValidationError) -> list[ErrorDetails]:
    """Pydantic's errors, without the complaint that a list is too short because its items are wrong."""
    found = error.errors(include_url=False, include_context=False)
    holders = {details["loc"][:length] for details in found for length in range(len(details["loc"]))}
    return [details for details in found if details["type"] != "too_short" or details["loc"] not in holders]


def key_of(details: ErrorDetails, schema: Schema = Recipe) -> KeyPath:
    """The key an error is about; pydantic's location goes on with the names of a union's options."""
    location = details["loc"]
    known = next(length for length in range(len(location), -1, -1) if slot_at(tuple(location[:length]), schema))
    if details["type"] == "missing" and isinstance(location[-1], int):
        known = len(location) - 1  # a list too short: the list is what is wrong
    is_unknown_key = details["type"] == "extra_forbidden" and known == len(location) - 1
    return tuple(location) if is_unknown_key else tuple(location[:known])


def _finding(details: ErrorDetails, path: KeyPath, schema: Schema) -> Finding:
    slot = slot_at(path, schema)
    if slot is None:
        what = f"{path[-1]} is not a key of {dotted(path[:-1]) or kind(schema)}"
        return Finding((path,), what, nearest(path, schema))
    if details["type"] == "missing" and path == tuple(details["loc"]):
        description = slot.field.description if slot.field and slot.field.description else ""
        return Finding((path,), "is required", f"add it: {description}" if description else "add it")
    is_inside = path != tuple(details["loc"]) and isinstance(details["input"], dict)
    shown = "a part of it is wrong" if is_inside else f"is {shown_value(details['input'])}"
    return Finding((path,), f"must be {expects(slot)}, but {shown}")


def shown_value(value: Any) -> str:
    """A value in a message: its text, shortened."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    text = str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def undoubted(findings: Iterable[Finding], doubtful: frozenset[KeyPath]) -> list[Finding]:
    """The findings that rest on no refused value."""
    return [
        finding
        for finding in findings
        if not any(path[:length] in doubtful for path in finding.about for length in range(len(path) + 1))
    ]
