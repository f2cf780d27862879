"""The micro-batch of a run's next attempt: frozen once it was found, halved when memory ran out."""

from __future__ import annotations

from contextlib import suppress

from biodist.errors import BiodistError
from biodist.plan.correction import with_micro_batch
from biodist.plan.plan import Plan, read_plan
from biodist.run.durable import read_json_lines
from biodist.run.folder import AttemptFolder, RunFolder
from biodist.run.records import AttemptRecord

# Before and after them a micro-batch holds no memory.
_PHASES = ("probing memory", "training", "saving")


def carried_on(plan: Plan, run: RunFolder) -> Plan:
    """`plan`, as decided for this place, with the micro-batch that the run's history asks for.

    The last attempt's number is kept, so that the run keeps its bits, or halved when that attempt ran out of memory
    in training; unless this place allows less, or the recipe now names another number.
    """
    attempt = _last_planned(run)
    if attempt is None:
        return plan
    last = read_plan(attempt.plan)
    named = plan.batch.micro_batch_rule == "recipe"
    if named and plan.recipe.train.micro_batch != last.recipe.train.micro_batch:
        return plan
    before = last.batch.micro_batch
    if can_shrink(attempt):
        why = f"{_windows(before // 2)} instead of {before}, because attempt {attempt.number} ran out of memory; the "
        smaller = with_micro_batch(plan, before // 2, "smaller", f"{why}global batch is unchanged")
        return smaller if before // 2 < plan.batch.micro_batch else plan
    if before > plan.batch.micro_batch or (named and last.batch.micro_batch_rule == "recipe"):
        return plan
    return with_micro_batch(plan, before, "kept")


def can_shrink(attempt: AttemptFolder) -> bool:
    """Whether it ran out of memory in training, and its micro-batch can be halved."""
    with suppress(OSError, BiodistError):
        return ran_out_of_memory(attempt) and read_plan(attempt.plan).batch.micro_batch > 1
    return False


def ran_out_of_memory(attempt: AttemptFolder) -> bool:
    """Whether it did so where the micro-batch matters. Raises OSError, RunFailed when its record is damaged."""
    if not attempt.record.exists():
        return False
    failure = AttemptRecord.load(attempt.record).failure
    return failure is not None and failure.kind == "memory" and _last_phase(attempt) in _PHASES


def out_of_memory_advice(attempt: AttemptFolder) -> str:
    """What helps where a smaller micro-batch does not; nothing when the attempt ended otherwise."""
    with suppress(OSError, BiodistError):
        failure = AttemptRecord.load(attempt.record).failure
        if failure is None or failure.kind != "memory":
            return ""
        plan = read_plan(attempt.plan)
        where = "with micro-batches of one window" if ran_out_of_memory(attempt) else f"while {_last_phase(attempt)}"
        return f"Memory ran out {where}; a smaller micro-batch does not help. " + _savers(plan)
    return ""


def _savers(plan: Plan) -> str:
    """What of the recipe, outside its core, would still save memory here."""
    recipe = plan.recipe
    left = [] if recipe.model.activation_checkpointing else ["model.activation_checkpointing=true"]
    left += [] if plan.strategy == "zero3" else ["distributed.strategy=zero3"]
    left += [] if plan.machine.device == "cpu" or recipe.distributed.offload == "cpu" else ["distributed.offload=cpu"]
    tried = f"Add {', or '.join(left)}; or use" if left else "Use"
    return f"{tried} more GPUs or nodes, or a machine with more memory (`biodist plan` says what each takes)."


def _windows(count: int) -> str:
    return f"{count} window{'' if count == 1 else 's'}"


def _last_phase(attempt: AttemptFolder) -> str:
    phase = ""
    for event in read_json_lines(attempt.events(0)):
        if event.get("kind") == "phase":
            phase = event["name"]
    return phase


def _last_planned(run: RunFolder) -> AttemptFolder | None:
    return next((attempt for attempt in reversed(run.attempts()) if attempt.plan.exists()), None)
