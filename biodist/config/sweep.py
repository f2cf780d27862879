"""The sweep: which keys of a recipe are searched, how, and for how long. Frozen and typed, as a recipe is.

Rules between keys, and with the recipe, are in `biodist.config.sweep_rules`; finding and reading in
`biodist.config.sweep_loading`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from biodist.config.recipe import PositiveInt, Section

DimensionKind = Literal["uniform", "loguniform", "randint", "choice", "grid"]
KINDS: tuple[DimensionKind, ...] = ("uniform", "loguniform", "randint", "choice", "grid")
Values = Annotated[tuple[Any, ...], Field(min_length=1)]


class Dimension(Section):
    """The values of one key: exactly one of the five kinds."""

    uniform: tuple[float, float] | None = Field(None, description="A number between two, drawn evenly.")
    loguniform: tuple[float, float] | None = Field(None, description="A number between two, its logarithm evenly.")
    randint: tuple[int, int] | None = Field(None, description="A whole number between two, both included.")
    choice: Values | None = Field(None, description="One of these.")
    grid: Values | None = Field(None, description="Each of these (searcher grid).")
    when: dict[str, Any] = Field(
        default_factory=dict,
        description="Only where other keys of the space have this value, or one of these: {train.schedule: cosine}.",
    )

    @property
    def kinds(self) -> tuple[DimensionKind, ...]:
        """The kinds that are given; a sound dimension has one."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def kind(self) -> DimensionKind:
        return self.kinds[0]

    @property
    def values(self) -> tuple[Any, ...]:
        """Those of `choice` or `grid`, or the two ends of a range."""
        found: tuple[Any, ...] = getattr(self, self.kind)
        return found

    @property
    def is_listed(self) -> bool:
        """Whether its values are given one by one."""
        return self.kind in ("choice", "grid")


class Search(Section):
    """How the space is searched, and what it may cost."""

    searcher: Literal["grid", "random", "tpe"] = Field(
        "tpe", description="grid: every combination; random: drawn; tpe: Optuna's tree-structured Parzen estimator."
    )
    scheduler: Literal["none", "asha", "median"] = Field(
        "none",
        description="Who stops trials early: nobody; asha: successive halving (the best 1/reduction goes on); median: "
        "those whose best score is below the median of the others' means.",
    )
    trials: PositiveInt | None = Field(None, description="Configurations tried; all of them under searcher grid.")
    concurrency: int = Field(1, ge=1, description="Trials at a time; no more than the machine has cores or GPUs for.")
    seeds: int = Field(1, ge=1, description="Runs of each configuration, with seeds from train.seed on.")
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of the search itself.")
    max_hours: float | None = Field(None, gt=0, description="Hours of work after which all that runs is stopped.")
    max_gpu_hours: float | None = Field(None, gt=0, description="GPU hours of all trials after which no other begins.")
    grace_steps: PositiveInt | None = Field(
        None, description="Steps before which no trial is stopped early; the first evaluation when absent."
    )
    reduction: float = Field(3, gt=1, description="asha: one in so many goes on at each rung.")
    min_trials: int = Field(3, ge=1, description="median: trials to compare with, at least.")
    retries: int = Field(1, ge=0, description="How often a trial that failed is started again, from its checkpoint.")


class Sweep(Section):
    """What to search."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, description="Name of the sweep's folder."
    )
    recipe: str = Field(min_length=1, description="Recipe that every trial starts from: a file, or a name.")
    space: dict[str, Dimension] = Field(
        min_length=1, description="Keys of the recipe, each with its values: {train.learning_rate: {loguniform: …}}."
    )
    search: Search = Field(Search(), description="How it is searched.")
    metric: str = Field("f1", min_length=1, description="Metric of the validation split that is searched for.")
    mode: Literal["max", "min"] = Field("max", description="Whether more or less of it is better.")
