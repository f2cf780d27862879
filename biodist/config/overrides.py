"""Overrides: `train.learning_rate=1e-5`, `data.train.0.path=x.tsv`. The last of two on one key holds."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from biodist.config.document import Document, KeyPath, dotted, parse_flow
from biodist.config.recipe import Recipe
from biodist.config.schema import Schema, child, is_list, kind, nearest, slot_at
from biodist.errors import Problem, UserError


class _Refused(Exception):
    """One override that does not fit; the sentence and the next step."""

    def __init__(self, what: str, do: str = "") -> None:
        super().__init__(what)
        self.what, self.do = what, do


def overridden(document: Document, overrides: Iterable[str], schema: Schema = Recipe) -> Document:
    """The document with each `key=value` in place; its origin is then `override key=value`.

    List items go by number, from 0; the number equal to the list's length appends. Overrides that do not fit are
    left out and become problems of the document.
    """
    values = copy.deepcopy(document.values)
    origins = dict(document.origins)
    problems = list(document.problems)
    for text in overrides:
        origin = f"override {text}"
        try:
            parts, value = _parsed(text, origin)
            number_path = _resolved(values, parts, schema)
            _set(values, origins, number_path, value, origin)
            _forget_below(origins, number_path)
            origins[number_path] = origin
        except _Refused as refused:
            problems.append(Problem(origin, refused.what, refused.do))
        except UserError as error:
            problems.extend(error.problems)
    return replace(document, values=values, origins=origins, problems=tuple(problems))


def _parsed(text: str, origin: str) -> tuple[tuple[str, ...], Any]:
    key, equals, value = text.partition("=")
    parts = tuple(key.strip().split("."))
    if not equals or not all(parts):
        raise _Refused("must be key=value with a dotted key", "as in train.learning_rate=1e-5")
    return parts, parse_flow(value, origin)


def _set(values: dict[str, Any], origins: dict[KeyPath, str], path: KeyPath, value: Any, origin: str) -> None:
    holder: Any = values
    for depth, part in enumerate(path[:-1], start=1):
        following = path[: depth + 1]
        inner = holder[part] if _has(holder, part) else None
        if inner is None:
            inner = [] if isinstance(following[-1], int) else {}
            _put(holder, part, inner)
            origins[path[:depth]] = origin
        holder = inner
    _put(holder, path[-1], value)


def _resolved(values: dict[str, Any], parts: tuple[str, ...], schema: Schema) -> KeyPath:
    """The parts with list numbers as numbers, checked against the schema and against what is there."""
    path: KeyPath = ()
    slot = slot_at((), schema)
    holder: Any = values
    for part in parts:
        if is_list(slot):
            number = _item_number(part, path, holder)
            path = (*path, number)
        else:
            if holder is not None and not isinstance(holder, dict):
                raise _Refused(f"{dotted(path)} is a single value, not a section", f"set {dotted(path)} itself")
            path = (*path, part)
        found = child(slot, path[-1]) if slot else None
        if found is None:
            raise _Refused(f"{dotted(path)} is not a key of {kind(schema)}", nearest(path, schema))
        slot, holder = found, holder[path[-1]] if _has(holder, path[-1]) else None
    return path


def _item_number(part: str, path: KeyPath, holder: Any) -> int:
    if holder is not None and not isinstance(holder, list):
        raise _Refused(f"{dotted(path)} is not written as a list", f"set {dotted(path)} itself")
    length = len(holder or ())
    if not (part.isascii() and part.isdigit()):
        raise _Refused(f"{dotted(path)} is a list, but {part} is not the number of an item", "items count from 0")
    if int(part) > length:
        raise _Refused(f"{dotted(path)} ends before item {part}", f"item {length} would append one")
    return int(part)


def _has(holder: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(holder, list) and part < len(holder)
    return isinstance(holder, dict) and part in holder


def _put(holder: Any, part: str | int, value: Any) -> None:
    if isinstance(part, int) and part == len(holder):
        holder.append(value)
    else:
        holder[part] = value


def _forget_below(origins: dict[KeyPath, str], path: KeyPath) -> None:
    for known in [known for known in origins if known[: len(path)] == path]:
        del origins[known]
