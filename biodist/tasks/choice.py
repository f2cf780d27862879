"""The task of a recipe."""

from __future__ import annotations

from biodist.plan.plan import Plan
from biodist.tasks.ner import EntityTask
from biodist.tasks.protocol import Task


def task_of(plan: Plan) -> Task:
    """The task object of a plan. `biodist.config.readiness` has refused the tasks that are not there."""
    if plan.recipe.task == "ner":
        return EntityTask(plan.data.labels)
    raise AssertionError(f"task {plan.recipe.task} passed the recipe's check")
