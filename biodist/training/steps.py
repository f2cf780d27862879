"""The training loop: a generator of optimizer steps. Whoever iterates logs, evaluates and saves."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from biodist.data.arrangement import MicroBatch, arrange
from biodist.data.order import step_samples
from biodist.data.store import SampleStore
from biodist.errors import RunFailed
from biodist.metrics.stream import samples_digest
from biodist.plan.plan import Plan
from biodist.tasks.protocol import Task
from biodist.training.chance import seed_step
from biodist.training.collator import Collator
from biodist.training.engine import Engine
from biodist.training.group import Control
from biodist.training.pace import Pace, Stopwatch
from biodist.training.schedule import learning_rate
from biodist.training.stopping import StopFlag
from biodist.training.watchdog import Watchdog


@dataclass(frozen=True)
class StepDone:
    """One optimizer step, as all ranks saw it together."""

    step: int
    epoch: int
    count: int  # samples that reached forward
    digest: str  # SHA-256 of their sorted ids
    loss: float  # mean over the targets of the global batch
    learning_rate: float
    grad_norm: float
    tokens: int
    targets: int
    seconds: float
    skipped: bool  # fp16: the gradients overflowed, the scale was lowered
    stop: bool  # some rank was asked to stop
    pace: Pace  # of this rank alone


@dataclass(frozen=True)
class Assignment:
    """One step's samples, and this rank's micro-batches of them."""

    epoch: int
    samples: np.ndarray
    micro_batches: tuple[MicroBatch, ...]
    most_windows: int  # of any rank, fillers included
    targets: int  # of the whole global batch
    tokens: int


def assign(plan: Plan, store: SampleStore, step: int, rank: int) -> Assignment:
    """A pure function of plan, data and step: every rank computes the same arrangement and takes its part."""
    train, sizes = plan.recipe.train, [len(samples) for samples in store.corpora.values()]
    epoch, samples = step_samples(
        train.seed,
        plan.data.fingerprint,
        store.samples,
        train.global_batch,
        step,
        sizes,
        plan.recipe.data.sampling,
    )
    windows = np.concatenate([np.arange(store.first_window[s], store.first_window[s + 1]) for s in samples])
    ranks = arrange(windows, store.lengths[windows], plan.machine.world_size, plan.batch.micro_batch)
    return Assignment(
        epoch=epoch,
        samples=samples,
        micro_batches=ranks[rank],
        most_windows=max(sum(len(m.windows) for m in mine) for mine in ranks),
        targets=int(store.targets[windows].sum()),
        tokens=int(store.lengths[windows].sum()),
    )


def training_steps(
    engine: Engine,
    task: Task,
    store: SampleStore,
    collator: Collator,
    control: Control,
    stop: StopFlag,
    watchdog: Watchdog,
    done: int,
) -> Iterator[StepDone]:
    """Optimizer steps ``done + 1`` to the last, one at a time.

    Raises:
        RunFailed: the loss or the gradients are no numbers, or other samples reached the model than the plan says.
    """
    plan = engine.plan
    engine.wrapped.train()
    for step in range(done + 1, plan.batch.total_steps + 1):
        watchdog.beat(f"training step {step}")
        began = time.perf_counter()
        stopwatch = Stopwatch(engine.device)
        assignment = assign(plan, store, step, control.rank)
        seed_step(plan.recipe.train.seed, step, control.rank)
        rate = learning_rate(plan, step)
        loss, reached = _accumulate(engine, task, store, collator, assignment, rate, stopwatch)
        update = engine.update()
        with stopwatch.waiting():
            said = _exchange(control, assignment.most_windows, loss, update.grad_norm, stop.raised, reached)
        seconds = time.perf_counter() - began
        ids = reached_ids(store, said.windows)
        result = StepDone(
            step=step,
            epoch=assignment.epoch,
            count=len(ids),
            digest=samples_digest(ids),
            loss=said.loss,
            learning_rate=rate,
            grad_norm=said.grad_norm,
            tokens=assignment.tokens,
            targets=assignment.targets,
            seconds=seconds,
            skipped=update.skipped,
            stop=said.stop,
            pace=stopwatch.pace(seconds),
        )
        _hold_to_plan(result, store, assignment)
        yield result


def _accumulate(
    engine: Engine,
    task: Task,
    store: SampleStore,
    collator: Collator,
    assignment: Assignment,
    rate: float,
    stopwatch: Stopwatch,
) -> tuple[float, list[torch.Tensor]]:
    """Forward and backward of this rank's micro-batches, ended by the update.

    Each micro-batch's loss is a sum over its targets, divided by the targets of the whole global batch; times the world
    size, because the strategies average gradients over ranks. Fillers of weight 0 keep the ranks in step.
    """
    scale = engine.plan.machine.world_size / max(1, assignment.targets)
    loss_sum = torch.zeros((), dtype=torch.float64, device=engine.device)
    reached = []
    for number, micro_batch in enumerate(assignment.micro_batches):
        last = number == len(assignment.micro_batches) - 1
        batch = collator.collate(store, micro_batch.windows).to(engine.device)
        with engine.micro_batch(last):
            with stopwatch.forward(batch.tokens):
                logits = engine.forward(batch)
            if micro_batch.weight:
                reached.append(batch.windows)
            loss = task.loss_sum(logits, batch.labels, batch.weights) * micro_batch.weight
            engine.backward(loss * scale, rate, last)
        loss_sum += loss.detach()
    return float(loss_sum) / max(1, assignment.targets), reached


@dataclass(frozen=True)
class _Said:
    """What the ranks said after a step."""

    loss: float
    grad_norm: float
    stop: bool
    windows: np.ndarray


def _exchange(
    control: Control, most_windows: int, loss: float, grad_norm: float, stop: bool, reached: Sequence[torch.Tensor]
) -> _Said:
    """One small collective a step: losses, the wish to stop, and the window numbers that went through forward."""
    own = torch.cat([w.cpu() for w in reached]) if reached else torch.empty(0, dtype=torch.int64)
    head = [_bits(loss), _bits(grad_norm), int(stop), len(own)]
    rows = control.gather_rows(_row(head, own, most_windows))
    if (most := int(rows[:, 3].max())) > most_windows:  # a loader that repeats: everybody must see what came
        rows = control.gather_rows(_row(head, own, most))
    return _Said(
        loss=math.fsum(_number(int(bits)) for bits in rows[:, 0]) if _finite(rows) else math.nan,
        grad_norm=_number(int(rows[0, 1])),
        stop=bool(rows[:, 2].any()),
        windows=np.concatenate([r[4 : 4 + int(r[3])].numpy() for r in rows]),
    )


def _row(head: list[int], windows: torch.Tensor, room: int) -> torch.Tensor:
    row = torch.full((len(head) + room,), -1, dtype=torch.int64)
    row[: len(head)] = torch.tensor(head, dtype=torch.int64)
    row[len(head) : len(head) + len(windows)] = windows[:room]
    return row


def _finite(rows: torch.Tensor) -> bool:
    return all(math.isfinite(_number(int(bits))) for bits in rows[:, 0])


def _bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _number(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])


def reached_ids(store: SampleStore, windows: np.ndarray) -> list[str]:
    """Ids of the samples whose windows reached forward, one for each time.

    A sample whose windows all came equally often counts that often; otherwise each window that came stands alone, as
    ``id#window``, which no plan's digest ever holds.
    """
    numbers, times = np.unique(windows, return_counts=True)
    came = dict(zip(numbers.tolist(), times.tolist(), strict=True))
    ids: list[str] = []
    for sample in np.unique(store.sample_of[numbers]).tolist():
        first, after = int(store.first_window[sample]), int(store.first_window[sample + 1])
        often = {came.get(window, 0) for window in range(first, after)}
        if len(often) == 1:
            ids += [store.sample_id(sample)] * often.pop()
        else:
            name = store.sample_id(sample)
            ids += [f"{name}#{window - first}" for window in range(first, after) for _ in range(came.get(window, 0))]
    return ids


def _hold_to_plan(done: StepDone, store: SampleStore, assignment: Assignment) -> None:
    planned = samples_digest(store.sample_id(int(sample)) for sample in assignment.samples)
    if done.digest != planned:
        raise RunFailed(
            f"step {done.step}: {done.count} samples reached the model, digest {done.digest[:12]}; the plan has "
            f"{len(assignment.samples)}, digest {planned[:12]}. A sample was skipped or repeated: nothing after the "
            "last checkpoint is to be trusted"
        )
    broken = not math.isfinite(done.loss) or not (math.isfinite(done.grad_norm) or done.skipped)
    if broken and not done.skipped:
        ids = ", ".join(sorted(store.sample_id(int(sample)) for sample in assignment.samples))
        raise RunFailed(
            f"step {done.step}: loss {done.loss}, gradient norm {done.grad_norm}: not a number. Samples of this step: "
            f"{ids}. Nothing of this step was saved; lower train.learning_rate or use train.precision=fp32"
        )
