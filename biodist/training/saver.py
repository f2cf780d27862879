"""The checkpoints of a run, as one attempt writes, keeps and loads them."""

from __future__ import annotations

import time

from biodist.checkpoint.background import BackgroundSave, Snapshot
from biodist.checkpoint.fragments import TrainingState, training_state
from biodist.checkpoint.loading import load, load_newest, refuse_foreign
from biodist.checkpoint.manifest import NAME as MANIFEST
from biodist.checkpoint.manifest import Cursor
from biodist.checkpoint.reading import Checkpoint, checkpoints_in, folders_in, open_checkpoint, problems_of
from biodist.checkpoint.retention import kept_steps
from biodist.checkpoint.saving import Moment, remove_checkpoint, remove_staging, save
from biodist.errors import RunFailed
from biodist.run.folder import AttemptFolder
from biodist.training.engine import Engine
from biodist.training.group import Control
from biodist.training.placement import Placement
from biodist.training.recorder import Recorder


class Saver:
    """Saves and loads one engine's state. Every method is collective: each rank calls it, in the same order.

    A save copies the state and hands it to a thread (``checkpoint.asynchronous``; else the thread is given the live
    state, and waited for), whose ranks talk over a group of their own. At most one is under way; ``settle`` waits for
    it.
    """

    def __init__(
        self, attempt: AttemptFolder, engine: Engine, control: Control, placement: Placement, recorder: Recorder
    ):
        self._attempt = attempt
        self._run = attempt.run
        self._plan = engine.plan
        self._control = control
        self._writers = control.twin()
        self._fence = placement.fence
        self._recorder = recorder
        optimizer = engine.zero_optimizer or engine.optimizer.optimizer
        self._state: TrainingState = training_state(
            engine.plan.strategy,
            engine.parameters,
            optimizer,
            control.rank,
            control.world_size,
            engine.buffers,
            engine.loss_scale,
        )
        self._snapshot = Snapshot()
        self._background = BackgroundSave()
        self._stall_s = 0.0  # what the save under way cost the loop so far

    def resume(self) -> int:
        """Loads the newest checkpoint that verifies; gives its step, 0 for a fresh start.

        Raises:
            RunFailed: there are checkpoints and none verifies.
            UserError: the checkpoint is of another recipe or other data.
        """
        folder = self._run.checkpoints
        stale: list[str] = []
        if self._control.rank == 0:
            with self._fence.hold():
                stale = self._sweep()
        found = load_newest(folder, self._state, self._control, self._accept)
        for problem in (*(f"removed unfinished {name}" for name in stale), *found.passed_over):
            self._recorder.phase("passing over a checkpoint", problem=problem)
        if found.checkpoint is None:
            return 0
        self._drop_damaged(found.checkpoint.step)
        return found.checkpoint.step

    def _accept(self, checkpoint: Checkpoint) -> None:
        refuse_foreign(checkpoint, self._plan.core_digest, self._plan.data.fingerprint)

    def save(self, step: int) -> None:
        """Begins a checkpoint of ``step``, after the one before is published.

        Raises:
            RunFailed: the one before could not be written.
        """
        self.settle(step)
        if self._control.rank == 0:
            self._fence.check()  # a replaced attempt does not even begin one
        began = time.perf_counter()
        self._recorder.sync()
        self._recorder.phase("saving", step=step)
        epoch, step_of_epoch = divmod(step - 1, self._plan.batch.steps_per_epoch)
        moment = Moment(
            step=step,
            cursor=Cursor(epoch=epoch + 1, step_of_epoch=step_of_epoch + 1),
            attempt=self._attempt.number,
            strategy=self._plan.strategy,
            core_digest=self._plan.core_digest,
            data_fingerprint=self._plan.data.fingerprint,
        )
        share = self._state.share()
        if asynchronous := self._plan.recipe.checkpoint.asynchronous:
            share = self._snapshot.take(share)
        folder, writers = self._run.checkpoints, self._writers
        self._background.start(lambda: save(folder, moment, share, writers, self._fence.hold))
        self._stall_s = time.perf_counter() - began
        if not asynchronous:  # nobody changes the live state before it is written
            self.settle(step)

    def settle(self, step: int) -> None:
        """Waits until the save under way is published, and deletes what the recipe does not keep.

        ``step`` is the last one trained: where the checkpoint's cost goes on record.

        Raises:
            RunFailed: it could not be written.
        """
        began = time.perf_counter()
        saved = self._background.wait()
        if saved is None:
            return
        stall = self._stall_s + time.perf_counter() - began
        self._recorder.saved(step, saved.manifest.step, saved.manifest.bytes, saved.seconds, stall)
        self._retain()

    def _retain(self) -> None:
        if self._control.rank != 0:
            return
        with self._fence.hold():
            there = checkpoints_in(self._run.checkpoints)
            kept = kept_steps([c.step for c in there], self._recorder.best_steps(), self._plan.recipe.checkpoint)
            for checkpoint in there:
                if checkpoint.step not in kept:
                    remove_checkpoint(checkpoint.folder)

    def published(self, step: int) -> Checkpoint:
        """The checkpoint of ``step``, proven again.

        Raises:
            RunFailed: it is gone or damaged.
        """
        folder = self._run.checkpoint(step)
        checkpoint = open_checkpoint(folder)
        own = problems_of(folder, slice(self._control.rank, None, self._control.world_size))
        problems = sorted({problem for said in self._control.gather(own) for problem in said})
        if problems or checkpoint is None:
            raise RunFailed(
                f"the checkpoint to finish from does not verify: {'; '.join(problems)}. Restore it from a copy, or "
                f"remove {folder} to finish without it; then run the same command again"
            )
        return checkpoint

    def load(self, checkpoint: Checkpoint) -> None:
        """Fills the engine with another step's state."""
        load(checkpoint, self._state)

    def _sweep(self) -> list[str]:
        """Deletes what killed attempts were still writing; gives the names of unfinished checkpoints.

        The lease's own temporary file is left alone: the launcher may be writing it just now.
        """
        earlier = [attempt for attempt in self._run.attempts() if attempt.number < self._attempt.number]
        folders = (self._run.root, self._run.tensorboard, *(attempt.root for attempt in earlier))
        half = [path for folder in folders for end in ("tmp", "new") for path in folder.glob(f".*.{end}")]
        for path in (*half, *(attempt.rendezvous for attempt in earlier)):
            if not path.name.startswith(f".{self._run.lease.name}."):
                path.unlink(missing_ok=True)
        for attempt in earlier:
            remove_staging(attempt.root)
        return remove_staging(self._run.checkpoints)

    def _drop_damaged(self, resumed: int) -> None:
        """Folders newer than the step resumed from did not verify: training will make them anew. An older one without
        a manifest was being deleted when its attempt died."""
        if self._control.rank != 0:
            return
        with self._fence.hold():
            for path in folders_in(self._run.checkpoints):
                if path.name > self._run.checkpoint(resumed).name or not (path / MANIFEST).exists():
                    remove_checkpoint(path)
