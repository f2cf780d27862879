"""The sound rest of a recipe with faults, so that its other rules are checked in the same go."""

from __future__ import annotations

import copy
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from biodist.config.document import KeyPath
from biodist.config.findings import errors_of, key_of
from biodist.config.recipe import Recipe
from biodist.config.schema import Slot, child, is_list, is_section, options, slot_at

ROUNDS = 6  # a stand-in section is filled level by level, and a recipe has five


def salvaged(values: dict[str, Any], error: ValidationError) -> tuple[Recipe | None, frozenset[KeyPath]]:
    """The recipe with each refused value left out (or stood in for, where it is required), and those values' keys.

    Never to be trained: only for rules about the other keys. None where too little is left.
    """
    values = copy.deepcopy(values)
    doubtful: set[KeyPath] = set()
    for _ in range(ROUNDS):
        for details in errors_of(error):
            path = key_of(details)
            doubtful.add(path)
            _mend(values, path, details)
        try:
            return Recipe.model_validate(values), frozenset(doubtful)
        except ValidationError as remaining:
            error = remaining
    return None, frozenset(doubtful)


def _mend(values: dict[str, Any], path: KeyPath, details: ErrorDetails) -> None:
    slot, holder = slot_at(path), _holder(values, path)
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
