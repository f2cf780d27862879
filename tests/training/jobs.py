"""The program that one rank of a test's process group runs: training jobs, one after another in one group.

``python jobs.py FOLDER RANK WORLD_SIZE PARENT`` reads a list of `Job` from FOLDER/argument.json and writes what became
of each, by name, to FOLDER/result-RANK.json.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from biodist.checkpoint import adam
from biodist.checkpoint.export import export
from biodist.checkpoint.fragments import training_state
from biodist.checkpoint.loading import load, newest_verified
from biodist.checkpoint.manifest import Cursor, ScalerState
from biodist.checkpoint.reading import Checkpoint
from biodist.checkpoint.saving import Moment, save
from biodist.data.store import SampleStore
from biodist.errors import BiodistError
from biodist.plan.plan import Plan
from biodist.run.durable import write_json
from biodist.run.folder import AttemptFolder, RunFolder
from biodist.run.tether import tether
from biodist.tasks.choice import task_of
from biodist.training import exchange
from biodist.training.batch import Batch
from biodist.training.collator import Collator
from biodist.training.encoder import build_model, collator_of, export_config
from biodist.training.engine import Engine
from biodist.training.exchange import NodeMemory, Wire
from biodist.training.extensions import build, needed
from biodist.training.group import Control, process_group
from biodist.training.placement import Placement
from biodist.training.recorder import Recorder
from biodist.training.steps import training_steps
from biodist.training.stopping import StopFlag
from biodist.training.watchdog import Watchdog
from biodist.training.worker import end

ROOM = NodeMemory.room
LINEAR = torch.nn.functional.linear


@dataclass(frozen=True)
class Job:
    """One engine's life."""

    name: str
    plan: Plan
    until: int  # the last step
    load: str | None = None  # folder of checkpoints: goes on from the newest
    saves: dict[str, str] = field(default_factory=dict)  # step -> folder of checkpoints to save it in
    run: str | None = None  # folder of a run that gets samples.jsonl and metrics.jsonl
    tamper: str | None = None  # skip | repeat | swap | window: samples; jump: the offloaded optimizer's counter
    frozen: tuple[str, ...] = ()  # parameters that are not trained; a first life gives them values of its own
    counts: bool = False  # the model counts its forward passes in a persistent buffer
    scale: float | None = None  # fp16's first loss scale
    least: int | None = None  # elements from which ZeRO's ranks exchange; how often they summed is asked
    weights: str | None = None  # apart: one rank cannot see zero3's; stale: what was updated is not shown
    back: str | None = None  # folder of checkpoints: some batches are scored, then it trains on from the newest
    logits: str | None = None  # file for the logits of the first windows after the last step, with model/ beside it


@dataclass
class Said:
    """What became of a job."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    shared: int = 0
    gathered: int = 0
    notice: str | None = None
    error: str | None = None


def _unseen(memory: NodeMemory, count: int) -> torch.Tensor | None:
    """Refused, because the last rank cannot see it."""
    blind = memory._control.rank == memory._control.world_size - 1
    with patch.object(exchange, "_find", lambda *_: None) if blind else nullcontext():
        return ROOM(memory, count)


CHEATS: dict[str | None, Callable[[], AbstractContextManager[Any]]] = {
    "apart": lambda: patch.object(NodeMemory, "room", _unseen),
    "stale": lambda: patch("torch._foreach_copy_", lambda own, new: None),
}


class Tampering:
    """A loader that cheats in the first micro-batch where it can."""

    def __init__(self, collator: Collator, kind: str):
        self._collator, self._kind, self._done = collator, kind, False

    def collate(self, store: SampleStore, numbers: Sequence[int] | np.ndarray) -> Batch:
        given = np.asarray(numbers)
        if not self._done:
            changed = self._cheat(store, given)
            self._done = len(changed) != len(given) or bool((changed != given).any())
            given = changed
        return self._collator.collate(store, given)

    def _cheat(self, store: SampleStore, numbers: np.ndarray) -> np.ndarray:
        windows = np.diff(store.first_window)[store.sample_of[numbers]]  # of the sample that each belongs to
        match self._kind:
            case "skip" if len(numbers) > 1 and windows[-1] == 1:
                return numbers[:-1]
            case "repeat":
                return np.concatenate([numbers, numbers[:1]])
            case "swap":
                return np.concatenate([numbers[:-1], [(numbers[-1] + 1) % store.windows]])
            case "window" if len(numbers) > 1 and (windows > 1).any():
                return np.delete(numbers, int(np.argmax(windows > 1)))
        return numbers


def main() -> None:
    folder, rank, world_size, parent = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    tether(parent)
    torch.set_num_threads(1)
    given = json.loads((folder / "argument.json").read_text())
    jobs = [Job(**{**one, "plan": Plan.model_validate(one["plan"])}) for one in given]
    said: dict[str, Any] = {}
    placement = Placement(folder, rank, rank, world_size, f"file://{folder}/rendezvous", "", parent)
    # One process under ddp has no group, so such jobs come before a group is there.
    for _, some in groupby(sorted(jobs, key=_needs_group), _needs_group):
        group = list(some)
        with process_group(group[0].plan, placement) as control, Watchdog(120, lambda doing: None) as watchdog:
            for extension in dict.fromkeys(extension for job in group for extension in needed(job.plan)):
                build(extension, lambda line: None)
            for job in group:
                said[job.name] = asdict(live(job, placement, control, watchdog))
                _forget_engine()
    write_json(folder / f"result-{rank}.json", said)


def _needs_group(job: Job) -> bool:
    return job.plan.machine.world_size > 1 or job.plan.zero_stage > 0


def _forget_engine() -> None:
    """What Accelerate and DeepSpeed leave in a process for good, though a run has one engine: the next must find none.

    ZeRO-3 replaces torch's ``linear``. Its gradients come in another order, and ZeRO-2 sums them in that order.
    """
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    for name in ("ACCELERATE_USE_CPU", "ACCELERATE_USE_DEEPSPEED"):
        os.environ.pop(name, None)
    torch.nn.functional.linear = LINEAR
    gc.collect()


def live(job: Job, placement: Placement, control: Control, watchdog: Watchdog) -> Said:
    said = Said()
    task = task_of(job.plan)
    model = _prepared(build_model(job.plan, task), job)
    collator = collator_of(job.plan, model)
    store = SampleStore.open(job.plan.data, "train")
    recorder = None
    sum_each, gather = Wire.sum_each, Wire.gather

    def counted(wire: Wire, pieces: Sequence[tuple[int, torch.Tensor]]) -> None:
        said.shared += 1
        sum_each(wire, pieces)

    def gathered(wire: Wire, output: torch.Tensor, part: torch.Tensor) -> None:
        said.gathered += 1
        gather(wire, output, part)

    cheats = ExitStack()
    try:
        if job.least:
            exchange.LEAST, Wire.sum_each, Wire.gather = job.least, counted, gathered  # type: ignore[method-assign]
        cheats.enter_context(CHEATS.get(job.weights, nullcontext)())
        engine = Engine(model, job.plan, placement, control)
        said.notice = engine.notice
        said.gathered = 0  # the small ones, before they are shared
        state = training_state(
            job.plan.strategy,
            engine.parameters,
            engine.zero_optimizer or engine.optimizer.optimizer,
            control.rank,
            control.world_size,
            engine.buffers,
            engine.loss_scale,
        )
        if job.scale and engine.loss_scale:
            engine.loss_scale.state = ScalerState(scale=job.scale, good_steps=0)
        done = 0
        if job.load:
            found = newest_verified(Path(job.load), control).checkpoint
            assert found is not None
            with patch.object(adam, "_replay", lambda *_: None) if job.tamper == "jump" else nullcontext():
                load(found, state)
            done = found.step
        if job.run:
            recorder = Recorder(_attempt(Path(job.run), control), job.plan, placement)
            recorder.resume(done)

        def save_if_asked(step: int) -> None:
            if folder := job.saves.get(str(step)):
                save(Path(folder), _moment(job.plan, step), state.share(), control)

        save_if_asked(done)
        loader: Any = Tampering(collator, job.tamper) if job.tamper and control.rank == 0 else collator

        def train(done: int) -> None:
            steps = training_steps(engine, task, store, loader, control, StopFlag(), watchdog, done)
            for result in steps if done < job.until else ():
                said.losses.append(result.loss)
                said.norms.append(result.grad_norm)
                said.rates.append(result.learning_rate)
                said.digests.append(result.digest)
                said.counts.append(result.count)
                if recorder:
                    recorder.step(result)
                save_if_asked(result.step)
                if result.step == job.until:
                    break

        train(done)
        if job.back:
            for window in range(3):
                with torch.no_grad():
                    engine.scorer(collator.collate(store, [window]))
            found = newest_verified(Path(job.back), control).checkpoint
            assert found is not None
            load(found, state)
            train(found.step)
        if job.least and job.plan.zero_stage == 2:
            kept = engine.zero_optimizer._use_compact_grad_partition_buffer(0)
            said.error = None if kept else "owned parts are not in one piece"
        if job.logits:
            _export(job, engine, collator, store, control, placement)
    except BiodistError as error:
        said.error = str(error)
    finally:
        cheats.close()
        Wire.sum_each, Wire.gather = sum_each, gather  # type: ignore[method-assign]
        if recorder:
            recorder.close()
    return said


def _prepared(model: torch.nn.Module, job: Job) -> Any:
    """The model with what no recipe can ask for: frozen parameters, a buffer that changes."""
    with torch.no_grad():
        for name in job.frozen:
            parameter = model.get_parameter(name).requires_grad_(False)
            if not job.load:  # what is loaded later cannot be there by chance
                parameter.mul_(1.25)
    if job.counts:
        model.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        model.register_buffer("drafts", torch.zeros(3), persistent=False)
        model.register_forward_pre_hook(lambda module, _: module.passes.add_(1) and None)  # type: ignore[func-returns-value]
    return model


def _attempt(run: Path, control: Control) -> AttemptFolder:
    number = control.share(RunFolder.prepare(run).new_attempt().number if control.rank == 0 else 0)
    return AttemptFolder(run / "attempts" / f"{number:04d}")


def _moment(plan: Plan, step: int) -> Moment:
    cursor = Cursor(epoch=1 + (step - 1) // plan.batch.steps_per_epoch, step_of_epoch=step)
    return Moment(step, cursor, 1, plan.strategy, plan.core_digest, plan.data.fingerprint)


def _export(
    job: Job, engine: Engine, collator: Collator, store: SampleStore, control: Control, placement: Placement
) -> None:
    """Logits of the engine's own model, and the folder that a user would load."""
    assert job.logits
    there = Path(job.logits)
    engine.scorer.eval()
    with torch.no_grad():
        batch = collator.collate(store, [0, 1, 2])
        logits = engine.scorer(batch)
    if placement.leads:
        np.savez(there, logits=logits.numpy(), input_ids=batch.input_ids.numpy(), lengths=np.array(batch.lengths))
        encoder = there.with_name("encoder")
        encoder.mkdir()
        (encoder / "config.json").write_text(export_config(engine.model))
        found = newest_verified(Path(job.saves[str(job.until)]), Control(0, 1, None)).checkpoint
        assert isinstance(found, Checkpoint)
        export(found, encoder, there.with_name("model"))
    control.share(None)


if __name__ == "__main__":
    main()
    end(0)
