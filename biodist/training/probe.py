"""Measures the largest micro-batch before training begins: a plan's formulas are estimates, a memory's end is not."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from biodist.data.store import SampleStore
from biodist.plan.correction import with_micro_batch
from biodist.plan.plan import MicroBatchRule, Plan
from biodist.training.collator import Collator
from biodist.training.engine import Scorer
from biodist.training.group import Control
from biodist.training.shortage import is_out_of_memory

PHASE = "probing memory"
PROBED: tuple[MicroBatchRule, ...] = ("step", "memory", "tokens")  # rules that are estimates of this very attempt
SHARE = 0.9  # of the room for activations that what was measured may take
RESET = "5"  # written to clear_refs: the peak of resident memory begins anew
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Probe:
    """What one rank found: the most windows that went through, and the bytes they took (None: not measurable here)."""

    windows: int
    bytes: int | None


def probed(plan: Plan, model: nn.Module, store: SampleStore, collator: Collator, control: Control) -> Plan:
    """The plan, or one with a smaller micro-batch where the planned one takes more than there is. Every rank calls.

    The model as it was built goes forward and backward with the longest windows there are, before any strategy has
    wrapped it: weights and random state stay as they are. Each rank measures for itself; the smallest counts.
    """
    if plan.batch.micro_batch_rule not in PROBED or not _has_room_for_whole_weights(plan):
        return plan
    longest = _longest(plan, store)
    own = _probe(plan, Scorer(model, plan), store, collator, longest)
    found = [_allowed(plan, probe, store.lengths[longest]) for probe in control.gather(own)]
    smallest = min(found)
    if smallest >= plan.batch.micro_batch:
        return plan
    why = f"{smallest} windows instead of {plan.batch.micro_batch}, because a probe of the longest ones took more "
    return with_micro_batch(plan, smallest, "probe", f"{why}memory than a process has; the global batch is unchanged")


def room(plan: Plan) -> int:
    """Bytes that are left for activations in one process."""
    return int(plan.machine.memory_gb_per_process * 10**9) - plan.memory.beside_activations


def _has_room_for_whole_weights(plan: Plan) -> bool:
    """A probe holds all weights at once, which zero3 and offloading may be there to avoid."""
    whole = 4 * (plan.model.shape.parameters + plan.model.shape.largest_parameters)
    return plan.memory.process + whole + plan.memory.activations <= plan.machine.memory_gb_per_process * 10**9


def _allowed(plan: Plan, probe: Probe, lengths: np.ndarray) -> int:
    """Windows that fit, by one rank's measurement of windows of these lengths, the longest first.

    Fewer windows are longer ones: what was measured is scaled by their tokens, not by their number.
    """
    limit = SHARE * room(plan)
    if probe.bytes is None or probe.bytes <= limit:
        return probe.windows
    tokens = np.cumsum(lengths[: probe.windows])
    return max(1, int(np.searchsorted(tokens, tokens[-1] * limit / probe.bytes, side="right")))


def _longest(plan: Plan, store: SampleStore) -> np.ndarray:
    """The windows of a probe, as the plan counts them: dealt out by length, at worst the longest that there are."""
    world_size = plan.machine.world_size
    return np.argsort(-store.lengths, kind="stable")[: plan.batch.micro_batch * world_size : world_size]


def _probe(plan: Plan, scorer: Scorer, store: SampleStore, collator: Collator, longest: np.ndarray) -> Probe:
    training, home = scorer.model.training, next(scorer.parameters()).device
    device = torch.device("cuda", torch.cuda.current_device()) if plan.machine.device == "cuda" else home
    scorer.to(device).train()
    try:
        with _gradients_dropped(scorer):
            _pass(scorer, store, collator, longest[-1:])  # what libraries take for themselves, once
            return _largest(lambda windows: _pass(scorer, store, collator, windows), longest, device)
    finally:
        scorer.to(home)
        scorer.model.train(training)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _largest(run: Callable[[np.ndarray], None], windows: np.ndarray, device: torch.device) -> Probe:
    """Halves the windows until they go through. Raises the error of a single window that does not."""
    while True:
        try:
            return Probe(len(windows), peak_growth(partial(run, windows), device))
        except Exception as error:
            if not is_out_of_memory(error) or len(windows) == 1:
                raise
        windows = windows[: len(windows) // 2]


def _pass(scorer: Scorer, store: SampleStore, collator: Collator, windows: np.ndarray) -> None:
    batch = collator.collate(store, windows).to(next(scorer.parameters()).device)
    scorer(batch).sum().backward()


@contextmanager
def _gradients_dropped(model: nn.Module) -> Iterator[None]:
    """Weights' gradients are let go of as they come: the plan counts them apart, and cuts them under ZeRO."""

    def drop(parameter: torch.Tensor) -> None:
        parameter.grad = None

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks = [parameter.register_post_accumulate_grad_hook(drop) for parameter in trained]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def peak_growth(run: Callable[[], None], device: torch.device) -> int | None:
    """Bytes by which memory grew at most while ``run`` ran: of the GPU's allocator, or of this process.

    None where the kernel does not let a process measure its own peak; ``run`` runs all the same.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    gc.collect()
    _give_back_freed()
    try:
        CLEAR_REFS.write_text(RESET)
        resident = _status_bytes("VmRSS")
    except OSError:
        run()
        return None
    run()
    return _status_bytes("VmHWM") - resident


def _give_back_freed() -> None:
    """What was freed before, and is kept for later, would hide growth."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _status_bytes(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
