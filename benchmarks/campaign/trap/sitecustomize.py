"""Stops a process of a run at one stated instruction. Python imports this by itself where its folder is on PYTHONPATH.

The campaign lists traps in the variable ``CAMPAIGN_TRAPS``: JSON, of objects with the fields of `campaign.traps.Trap`.
A process that reaches one writes its number to ``reached`` and stands still there until ``release`` exists, or until it
is killed. The harness itself has no hooks for this: its functions are wrapped as their module is imported.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def wrap(module: ModuleType, trap: dict[str, Any]) -> None:
    """Puts the trap around one function of a module, which may be of another module that it uses (``os.fsync``)."""
    *owners, name = trap["function"].split(".")
    owner = functools.reduce(getattr, owners, module)
    function: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    @functools.wraps(function)
    def trapped(*given: Any, **named: Any) -> Any:
        having = trap["having"]
        if is_in(trap["rank"]) and (not having or any(having in str(value) for value in given)):
            if trap["skips"]:
                return None
            if next(calls) == trap["call"]:
                stand_still(Path(trap["reached"]), Path(trap["release"]))
        return function(*given, **named)

    setattr(owner, name, trapped)


def is_in(rank: int | None) -> bool:
    """Whether this process is that rank; None is the launcher."""
    given = sys.argv[sys.argv.index("--rank") + 1] if "--rank" in sys.argv else None
    return given == (None if rank is None else str(rank))


def stand_still(reached: Path, release: Path) -> None:
    """Says that this process is here, and waits."""
    hidden = reached.with_suffix(".new")
    hidden.write_text(str(os.getpid()))
    hidden.rename(reached)
    while not release.exists():
        time.sleep(0.01)


class Traps(importlib.abc.MetaPathFinder):
    """Finds the modules that hold traps the usual way, and wraps their functions once they are there."""

    def __init__(self, traps: Sequence[dict[str, Any]]):
        self._waiting = {trap["module"]: [t for t in traps if t["module"] == trap["module"]] for trap in traps}

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        traps = self._waiting.pop(fullname, None)
        if traps is None:
            return None
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_wrap(module: ModuleType) -> None:
            execute(module)
            for trap in traps:
                wrap(module, trap)

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec


if listed := os.environ.get("CAMPAIGN_TRAPS"):
    sys.meta_path.insert(0, Traps(json.loads(listed)))
