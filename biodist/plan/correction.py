"""A plan with another micro-batch than was decided at first."""

from __future__ import annotations

from biodist.plan.decide import decide
from biodist.plan.plan import MicroBatchRule, Plan


def with_micro_batch(plan: Plan, windows: int, rule: MicroBatchRule, why: str = "") -> Plan:
    """The same plan with micro-batches of so many windows, and with all that follows from it; the recipe stays.

    ``why``, when given, is added to what is said at the start of the attempt.
    """
    train = plan.recipe.train.model_copy(update={"micro_batch": windows})
    recipe = plan.recipe.model_copy(update={"train": train})
    again = decide(recipe, plan.data, plan.model, plan.machine, plan.command, plan.profile)
    notices = (*plan.notices, f"train.micro_batch: {why}") if why else plan.notices
    batch = again.batch.model_copy(update={"micro_batch_rule": rule})
    return again.model_copy(
        update={"recipe": plan.recipe, "batch": batch, "notices": notices, "rehearsal": plan.rehearsal}
    )
