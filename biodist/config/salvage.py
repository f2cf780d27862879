"""The sound rest of a recipe or profile with faults, so that its other rules are checked in the same go."""

from __future__ import annotations

import copy
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError

from biodist.config.document import KeyPath
from biodist.config.findings import errors_of, key_of
from biodist.config.recipe import Section
from biodist.config.schema import Schema, Slot, child, is_list, is_section, options, slot_at

Stated = TypeVar("Stated", bound=Section)
ROUNDS = 6  # a stand-in section is filled level by level, and a recipe has five


def salvaged(
    values: dict[str, Any], error: ValidationError, schema: type[Stated]
) -> tuple[Stated | None, frozenset[KeyPath]]:
    """What the values state without the refused ones (stood in for, where they are required), and the keys of those.

    Never to be used: only for rules about the other keys. None where too little is left.
    """
    values = copy.deepcopy(values)
    doubtful: set[KeyPath] = set()
    for _ in range(ROUNDS):
        for details in errors_of(error):
            path = key_of(details, schema)
            doubtful.add(path)
            _mend(values, path, schema)
        try:
            return schema.model_validate(values), frozenset(doubtful)
        except ValidationError as remaining:
            error = remaining
    return None, frozenset(doubtful)


def _mend(values: dict[str, Any], path: KeyPath, schema: Schema) -> None:
    slot, holder = slot_at(path, schema), _holder(values, path)
    if holder is None or not path:
        return
    last = path[-1]
    is_required = slot is not None and slot.field is not None and slot.field.is_required()
    if isinstance(holder, dict) and not is_required:
        holder.pop(last, None)
    elif slot is not None and (isinstance(holder, dict) or last in range(len(holder))):
        holder[last] = _stand_in(slot)


def _holder(values: Any, path: KeyPath) -> Any:
    for part in path[:-1]:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):  # mended away by an earlier error of the same round
            return None
    return values if isinstance(values, dict | list) else None


def _stand_in(slot: Slot) -> Any:
    option = options(slot)[0]
    if is_section(option.annotation):
        return {}
    if is_list(option):
        item = child(option, 0)
        return [_stand_in(item)] if item is not None else []
    if get_origin(option.annotation) is Literal:
        return get_args(option.annotation)[0]
    return "1"  # a valid number, and a valid name
