"""The task of a recipe."""

from __future__ import annotations

from biodist.config.corpora import asked_views
from biodist.plan.plan import Plan
from biodist.tasks.ner import EntityTask
from biodist.tasks.protocol import Task
from biodist.tasks.sequences import ClassSetTask, ClassTask


def task_of(plan: Plan) -> Task:
    """The task object of a plan. `biodist.config.readiness` has refused the tasks that are not there."""
    data, labels = plan.recipe.data, plan.data.labels
    match plan.recipe.task:
        case "ner":
            return EntityTask(labels, plan.data.views, data.merge, asked_views(data))
        case "classification" if data.multi_label:
            return ClassSetTask("classification", labels, data.pool)
        case "nli" | "classification" as task:
            return ClassTask(task, labels, data.pool)
        case task:
            raise AssertionError(f"task {task} passed the recipe's check")
