"""From a recipe's name to its plan: what `plan`, `train` and `submit` do before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, cast, get_args

from biodist.cli.cache import cache_folder
from biodist.cli.encoder import locate_encoder
from biodist.cli.say import err
from biodist.config.transfer import finished_model
from biodist.errors import Problem, UserError
from biodist.plan.decide import Device, decide, place, place_on
from biodist.plan.head import named_head
from biodist.plan.machine import Machine
from biodist.plan.plan import MachinePlan, ModelPlan, Plan
from biodist.plan.shape import folder_config, folder_shape, head_of, scratch_shape

if TYPE_CHECKING:
    from biodist.config.profile import Profile
    from biodist.config.recipe import Recipe
    from biodist.plan.index import DataIndex

QUIET_SECONDS = 1.0  # an index that is ready sooner is not worth a line
LINE_SECONDS = 10.0  # between two lines where standard error is no terminal


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before anything starts."""

    recipe: Recipe
    index: DataIndex
    plan: Plan
    machine: Machine | None  # None on a cluster: this machine decides nothing there


def prepare(
    recipe_name: str,
    overrides: Iterable[str] = (),
    nproc: int | None = None,
    device: str = "auto",
    command: tuple[str, ...] = (),
    on: str | None = None,
    nodes: int | None = None,
) -> Prepared:
    """Loads the recipe, finds the encoder, builds a missing data index and decides.

    ``on`` names a profile: the plan is then for its cluster, ``nproc`` counts processes of a node, and nothing of
    this machine is looked at.

    Raises:
        UserError: recipe, profile, encoder or corpora are wrong; every problem of the first of them that is.
        MachineCannot: this machine or the profile's nodes cannot do it; found out before the corpora are read.
    """
    from biodist.data.indexing import build_index, index_notices

    recipe, profile = _loaded(recipe_name, overrides, on)
    machine, where = _site(profile, nodes, nproc, device)
    folder = _encoder_folder(recipe)
    if folder is not None:
        folder_shape(folder, labels=1)  # an encoder that cannot be used is said before the corpora are read
    with _Indexing() as progress:
        index = build_index(recipe, folder, cache_folder() / "data", progress)
    plan = decide(recipe, index, model_plan(recipe, folder, index), where, command, profile)
    plan = plan.model_copy(update={"notices": (*plan.notices, *index_notices(index, recipe.data.merge))})
    return Prepared(recipe, index, plan, machine)


def data_index(recipe: Recipe) -> DataIndex:
    """The recipe's data index alone, built where it is missing. Raises what `prepare` does."""
    from biodist.data.indexing import build_index

    folder = _encoder_folder(recipe)
    with _Indexing() as progress:
        return build_index(recipe, folder, cache_folder() / "data", progress)


def _encoder_folder(recipe: Recipe) -> Path | None:
    """Where the model that is trained on lies; None where it is made from nothing."""
    after = recipe.model.after
    return finished_model(after) if after else locate_encoder(recipe.model.name, recipe.model.revision)


def model_plan(recipe: Recipe, folder: Path | None, index: DataIndex) -> ModelPlan:
    """The encoder with its task's head for the index's labels."""
    labels, head = len(index.labels), head_of(recipe.task)
    if folder is None:
        return ModelPlan(folder=None, shape=scratch_shape(recipe.model.scratch, index.vocab_size, labels, head))
    shape, classes = folder_shape(folder, labels, head), named_head(folder_config(folder), recipe.task)
    return ModelPlan(folder=str(folder), shape=shape, head=classes)


def _loaded(recipe_name: str, overrides: Iterable[str], on: str | None) -> tuple[Recipe, Profile | None]:
    """Recipe and profile, or the problems of both at once."""
    from biodist.cli.profiles import named_profile
    from biodist.config.loading import load_recipe

    recipe, profile, problems = None, None, list[Problem]()
    try:
        recipe = load_recipe(recipe_name, overrides)
    except UserError as error:
        problems += error.problems
    try:
        profile = None if on is None else named_profile(on)
    except UserError as error:
        problems += error.problems
    if recipe is None or problems:
        raise UserError(problems)
    return recipe, profile


def _site(
    profile: Profile | None, nodes: int | None, nproc: int | None, device: str
) -> tuple[Machine | None, MachinePlan]:
    """The processes on the profile's nodes, or on this machine, which is then looked at."""
    chosen = _device(device)
    if profile is None:
        if nodes is not None and nodes != 1:
            what = "counts nodes of a cluster, but no profile is given"
            raise UserError(Problem(f"--nodes {nodes}", what, "give one: --on PROFILE"))
        machine = Machine.here()
        return machine, place(machine, nproc, chosen)
    if chosen != "auto":
        do = "leave it out, or set device in a profile of your own"
        raise UserError(Problem(f"--device {device}", "the profile decides it", do))
    return None, place_on(profile, nodes, nproc)


def _device(name: str) -> Device:
    if name not in get_args(Device):
        raise UserError(Problem("--device", f"must be one of {', '.join(get_args(Device))}, but is {name!r}"))
    return cast(Device, name)


class _Indexing:
    """Says on standard error how far the index is: nothing when it is quick."""

    def __init__(self) -> None:
        self._next = monotonic() + QUIET_SECONDS
        self._status = err.status("reading the corpora")
        self._showing = False

    def __enter__(self) -> Callable[[str, int], None]:
        return self._say

    def _say(self, split: str, samples: int) -> None:
        now = monotonic()
        if now < self._next:
            return
        line = f"reading the corpora: {split}, {samples:,} samples"
        if not err.is_terminal:
            err.print(line)
            self._next = now + LINE_SECONDS
            return
        if not self._showing:
            self._status.start()
            self._showing = True
        self._status.update(line)

    def __exit__(self, *_: object) -> None:
        if self._showing:
            self._status.stop()
