"""The learning rate as a function of the optimizer step."""

from __future__ import annotations

import math

from biodist.plan.plan import Plan


def learning_rate(plan: Plan, step: int) -> float:
    """Learning rate of optimizer step ``step`` (from 1), whatever the world size.

    As in transformers' schedules: it rises linearly from 0 in the first step, and falls to 0 one step after the last.
    """
    peak = plan.recipe.train.learning_rate
    done, warmup, total = step - 1, plan.batch.warmup_steps, plan.batch.total_steps
    if done < warmup:
        return peak * done / warmup
    left = (done - warmup) / max(1, total - warmup)
    match plan.recipe.train.schedule:
        case "linear":
            return peak * max(0.0, 1.0 - left)
        case "cosine":
            return peak * max(0.0, 0.5 * (1.0 + math.cos(math.pi * left)))
        case "constant":
            return peak
