"""A schema as data (the recipe's, the profile's): what a key expects, which keys there are, which one was meant."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

from biodist.config.document import KeyPath, dotted
from biodist.config.recipe import Recipe, Section


class Slot(NamedTuple):
    """One place of the schema: its type and the constraints on it."""

    annotation: Any
    constraints: tuple[Any, ...] = ()
    field: FieldInfo | None = None  # of a section's key; None of a list's or mapping's item


Schema = type[Section]


def kind(schema: Schema) -> str:
    """What a file of this schema is called: a recipe, a profile."""
    return f"a {schema.__name__.lower()}"


def slot_at(path: KeyPath, schema: Schema = Recipe) -> Slot | None:
    """The slot of a key, None where the schema has no such key."""
    slot: Slot | None = Slot(schema)
    for part in path:
        slot = None if slot is None else child(slot, part)
    return slot


def child(slot: Slot, part: str | int) -> Slot | None:
    """The slot of one key or item inside another."""
    for option in options(slot):
        annotation, origin = option.annotation, get_origin(option.annotation)
        if is_section(annotation):
            found = annotation.model_fields.get(str(part))
            if found is not None:
                return Slot(found.annotation, tuple(found.metadata), found)
        elif origin is tuple and isinstance(part, int):
            items = get_args(annotation)
            if items[-1] is Ellipsis:
                return _unwrapped(items[0])
            if part < len(items):
                return _unwrapped(items[part])
        elif origin is dict:
            return _unwrapped(get_args(annotation)[1])
    return None


def options(slot: Slot) -> tuple[Slot, ...]:
    """The alternatives of a union (None left out), or the slot itself."""
    if get_origin(slot.annotation) not in (Union, types.UnionType):
        return (slot,)
    found = [_unwrapped(option) for option in get_args(slot.annotation) if option is not type(None)]
    return tuple(Slot(option.annotation, option.constraints + slot.constraints, slot.field) for option in found)


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def is_list(slot: Slot | None) -> bool:
    return slot is not None and any(get_origin(option.annotation) is tuple for option in options(slot))


def expects(slot: Slot) -> str:
    """What may stand there, in words: `a whole number, at least 1`."""
    return " or ".join(_expects_one(option) for option in options(slot))


def _expects_one(slot: Slot) -> str:
    annotation, origin = slot.annotation, get_origin(slot.annotation)
    if origin is Literal:
        names = [str(name) for name in get_args(annotation)]
        return names[0] if len(names) == 1 else "one of " + ", ".join(names)
    if is_section(annotation):
        inside = ", ".join(f"{name}: …" for name in annotation.model_fields)
        return "{" + inside + "}" if len(annotation.model_fields) == 1 else "a section"
    if origin is tuple:
        items = get_args(annotation)
        count = "a list" if items[-1] is Ellipsis else f"a list of {len(items)}"
        return ", ".join([count, *_limits(slot)])
    words = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    return ", ".join([words.get(annotation, "a section of names"), *_limits(slot)])


def _limits(slot: Slot) -> Iterator[str]:
    for rule in slot.constraints:
        match rule:
            case Ge(bound):
                yield f"at least {bound}"
            case Gt(bound):
                yield f"above {bound}"
            case Le(bound):
                yield f"at most {bound}"
            case Lt(bound):
                yield f"below {bound}"
            case MinLen(least):
                yield "not empty" if least == 1 else f"of at least {least}"
            case MaxLen(most):
                yield f"of at most {most}"
            case _ if getattr(rule, "pattern", None):
                yield f"matching {rule.pattern}"


def _unwrapped(annotation: Any) -> Slot:
    if get_origin(annotation) is not Annotated:
        return Slot(annotation)
    inner, *metadata = get_args(annotation)
    constraints = [rule for item in metadata for rule in (item.metadata if isinstance(item, FieldInfo) else [item])]
    return Slot(inner, tuple(constraints))


@dataclass(frozen=True)
class Key:
    """One key as the reference shows it."""

    name: str
    expects: str
    default: str
    description: str


def keys(schema: Schema = Recipe) -> tuple[Key, ...]:
    """Every key, in the schema's order; `N` stands for an item's number.

    The files of every split of a recipe take the same keys, so those are listed once, under `data.train`.
    """
    return tuple(_keys_of(schema, ""))


def _keys_of(section: type[Section], prefix: str) -> Iterator[Key]:
    for name, found in section.model_fields.items():
        slot = Slot(found.annotation, tuple(found.metadata), found)
        inside = [option.annotation for option in options(slot)]
        full = prefix + name
        if len(inside) == 1 and is_section(inside[0]):
            yield from _keys_of(inside[0], full + ".")
            continue
        yield Key(full, expects(slot), _default(found), found.description or "")
        item = child(slot, 0) if is_list(slot) else None
        if name == "train" and item is not None and is_section(item.annotation):
            yield from _keys_of(item.annotation, f"{full}.N.")


def _default(found: FieldInfo) -> str:
    if found.is_required():
        return "required"
    value = found.get_default(call_default_factory=True)
    if value is None or value == "":
        return "absent"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)


def nearest(path: KeyPath, schema: Schema = Recipe) -> str:
    """The next step for an unknown key: the valid one that was probably meant, or the keys there are."""
    parent = slot_at(path[:-1], schema)
    unknown = str(path[-1])
    siblings = _names(parent)
    close = difflib.get_close_matches(unknown, siblings, n=1, cutoff=0.6)
    if close:
        return f"did you mean {dotted((*path[:-1], close[0]))}?"
    known = [key.name for key in keys(schema)]
    if unknown in known and len(path) == 1:
        section, rest = unknown.split(".", 1)
        return f"write it nested: {section}: {{{rest}: …}}"
    same_name = [name for name in known if name.rsplit(".", 1)[-1] == unknown]
    elsewhere = same_name or difflib.get_close_matches(dotted(path), known, n=1, cutoff=0.75)
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"the keys of {dotted(path[:-1]) or kind(schema)} are: " + ", ".join(siblings)


def _names(slot: Slot | None) -> list[str]:
    if slot is None:
        return []
    return [
        name for option in options(slot) if is_section(option.annotation) for name in option.annotation.model_fields
    ]
