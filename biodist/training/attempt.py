"""One attempt, from its plan to its end: resume, train, score, save, finish."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedModel

from biodist.checkpoint.export import export
from biodist.data.store import SampleStore
from biodist.errors import EXIT_DONE, EXIT_STOPPED, RunFailed
from biodist.plan.plan import REHEARSED_KILL, Plan, write_plan
from biodist.run.durable import read_json_lines, remove_tree
from biodist.run.folder import AttemptFolder
from biodist.run.lease import Fence
from biodist.run.records import Result
from biodist.tasks.choice import task_of
from biodist.tasks.protocol import Task
from biodist.training.chance import exact_arithmetic
from biodist.training.collator import Collator
from biodist.training.encoder import build_model, collator_of, export_config, export_tokenizer_config
from biodist.training.engine import Engine
from biodist.training.evaluation import evaluate
from biodist.training.extensions import build, needed
from biodist.training.group import Control
from biodist.training.placement import Placement
from biodist.training.probe import PHASE, probed
from biodist.training.recorder import VALIDATION, Recorder
from biodist.training.saver import Saver
from biodist.training.steps import StepDone, training_steps
from biodist.training.stopping import StopAgreed, StopFlag
from biodist.training.watchdog import Watchdog

TEST = "test"


@dataclass(frozen=True)
class Attempt:
    """What one rank holds while an attempt lives."""

    folder: AttemptFolder
    plan: Plan
    task: Task
    engine: Engine
    collator: Collator
    stores: dict[str, SampleStore]
    control: Control
    recorder: Recorder
    saver: Saver
    stop: StopFlag
    watchdog: Watchdog
    fence: Fence
    validated: dict[int, dict[str, Any]] = field(default_factory=dict)  # what this attempt's validations said, by step

    def live(self) -> int:
        """Trains to the end or to a wish to stop; gives the exit code."""
        try:
            self._train()
            self._finish()
            return EXIT_DONE
        except StopAgreed:
            self.watchdog.beat("waiting for the checkpoint to be published")
            self.saver.settle(self.recorder.step_reached)
            self._stopped()
            return EXIT_STOPPED

    def _train(self) -> None:
        """Every step that is left.

        Raises:
            StopAgreed: some rank was asked to stop; the last step trained is saved, or is being saved.
        """
        self.watchdog.beat("looking for a checkpoint")
        done = self.saver.resume()
        self.recorder.resume(done)
        self.recorder.phase("training", total_steps=self.plan.batch.total_steps, resumed_step=done)
        self.stop.heed(self.control)
        self.watchdog.beat("beginning to train")
        self.watchdog.begun()
        if done:
            self._score_if_due(done)  # a kill can fall between a save and its scoring
        for result in self._steps(done):
            self.recorder.step(result)
            self._kill_if_rehearsed(result.step)
            if result.stop or self._saves_at(result.step):
                self.watchdog.beat(f"saving step {result.step}")
                self.saver.save(result.step)
                self.recorder.phase("training")
            if result.stop:
                raise StopAgreed
            self._score_if_due(result.step)
        self.watchdog.beat("waiting for the last checkpoint")
        self.saver.settle(self.plan.batch.total_steps)

    def _steps(self, done: int) -> Iterator[StepDone]:
        return training_steps(
            self.engine,
            self.task,
            self.stores["train"],
            self.collator,
            self.control,
            self.stop,
            self.watchdog,
            done,
        )

    def _scores_at(self, step: int) -> bool:
        batch = self.plan.batch
        return VALIDATION in self.stores and (step % batch.evaluate_every_steps == 0 or step == batch.total_steps)

    def _saves_at(self, step: int) -> bool:
        """A step that is scored is saved before: the best one can then be kept, and its model made from it."""
        every = self.plan.recipe.checkpoint.every_steps
        return step % every == 0 or step == self.plan.batch.total_steps or self._scores_at(step)

    def _kill_if_rehearsed(self, step: int) -> None:
        """A rehearsal loses its last rank once, while the others go on: as a run does whose node is lost."""
        rehearsal, rank = self.plan.rehearsal, self.control.rank
        if rehearsal is None or step != rehearsal.kill_step or rank != self.control.world_size - 1:
            return
        earlier = (read_json_lines(attempt.events(rank)) for attempt in self.folder.run.attempts())
        if not any(event.get("name") == REHEARSED_KILL for events in earlier for event in events):
            self.recorder.phase(REHEARSED_KILL, step=step)
            print(f"rehearsal: rank {rank} kills itself after step {step}, as planned", flush=True)  # noqa: T201
            os.kill(os.getpid(), signal.SIGKILL)

    def _score_if_due(self, step: int) -> None:
        if self._scores_at(step) and not self.control.share(self.recorder.scored(step)):
            self.recorder.phase("evaluating", step=step)
            self.validated[step] = self._evaluate(VALIDATION)
            self.recorder.scores(step, VALIDATION, self.validated[step])
            self.recorder.phase("training")

    def _evaluate(self, split: str) -> dict[str, Any]:
        return evaluate(
            self.engine.scorer, self.task, self.stores[split], self.collator, self.control, self.watchdog, self.stop
        )

    def _stopped(self) -> None:
        self.recorder.phase("stopped", step=self.recorder.step_reached)
        self.recorder.sync()
        if self.control.rank == 0:
            self._write_result("stopped", self.recorder.step_reached, None, None, {})

    def _finish(self) -> None:
        """The best weights are scored and exported; the result is written last."""
        total = self.plan.batch.total_steps
        best = self.control.share(next(iter(self._kept_best()), total))
        self.watchdog.beat(f"proving the checkpoint of step {best}")
        checkpoint = self.saver.published(best)
        metrics: dict[str, Any] = {VALIDATION: self.validated[best]} if best in self.validated else {}
        wanted = (VALIDATION, *([TEST] if self.plan.recipe.evaluate.test else []))
        left = [split for split in wanted if split in self.stores and split not in metrics]
        if left and best != total:
            self.saver.load(checkpoint)
        for split in left:
            self.recorder.phase("evaluating", step=best)
            metrics[split] = self._evaluate(split)
        if TEST in metrics:
            self.recorder.scores(total, TEST, metrics[TEST])
        self.watchdog.beat(f"proving the checkpoint of step {total}")
        last = checkpoint if best == total else self.saver.published(total)
        self.watchdog.beat("exporting the model")
        if self.control.rank == 0:
            folder = self.folder.run
            export(checkpoint, folder.encoder, folder.model, self.folder.model_staging, self.fence.hold)
            self.recorder.finished(total)
            self.recorder.sync()
            self._write_result("finished", total, last.weights_sha256(), best, metrics)
        self.control.share(None)

    def _kept_best(self) -> list[int]:
        """Scored steps that are still on disk, best first; none when the recipe keeps no best."""
        if not self.plan.recipe.checkpoint.keep_best:
            return []
        return [step for step in self.recorder.best_steps() if self.folder.run.checkpoint(step).is_dir()]

    def _micro_batches(self) -> tuple[int, ...]:
        """Windows a micro-batch, of each attempt so far."""
        plans = [attempt.plan for attempt in self.folder.run.attempts() if attempt.plan.exists()]
        return tuple(json.loads(plan.read_text(encoding="utf-8"))["batch"]["micro_batch"] for plan in plans)

    def _write_result(
        self,
        status: Literal["finished", "stopped"],
        steps: int,
        weights: str | None,
        best: int | None,
        metrics: dict[str, Any],
    ) -> None:
        totals = self.recorder.totals
        result = Result(
            status=status,
            steps=steps,
            samples_seen=totals.samples,
            tokens_seen=totals.tokens,
            train_seconds=totals.seconds,
            tokens_per_second=totals.tokens / totals.seconds if totals.seconds else 0.0,
            weights_sha256=weights,
            best_step=best,
            micro_batches=self._micro_batches(),
            metrics=metrics,
        )
        with self.fence.hold():
            result.save(self.folder.run.result)


def run_attempt(placement: Placement, plan: Plan, control: Control, stop: StopFlag, watchdog: Watchdog) -> int:
    """Builds everything a rank holds and lives the attempt; gives the exit code."""
    folder = AttemptFolder(placement.attempt)
    recorder = Recorder(folder, plan, placement)
    try:
        _same_plan(plan, control)
        exact_arithmetic(plan.machine.device)
        recorder.phase("opening the data")
        stores = {split: _opened(plan, split) for split in plan.data.splits}
        recorder.phase("building the model")
        watchdog.beat("building the model")
        task = task_of(plan)
        model = build_model(plan, task)
        if placement.leads:
            with placement.fence.hold():
                _keep_encoder(folder.run.encoder, Path(plan.data.tokenizer), model)
        for extension in needed(plan):
            watchdog.beat(f"compiling {extension.name}")
            build(extension, recorder.phase)
        # DeepSpeed's collective on a CPU waits for its peers without a limit: one that stands still is found out here.
        watchdog.beat("waiting for the other ranks to be ready")
        control.barrier()
        collator = collator_of(plan, model)
        watchdog.beat(PHASE)
        recorder.phase(PHASE)
        planned, plan = plan, probed(plan, model, stores["train"], collator, control)
        if plan is not planned:
            _correct(plan, folder, placement, recorder)
        watchdog.beat("starting " + plan.strategy)
        recorder.phase("starting " + plan.strategy)
        engine = Engine(model, plan, placement, control)
        if engine.notice:
            recorder.phase("starting " + plan.strategy, notice=engine.notice)
        saver = Saver(folder, engine, control, placement, recorder)
        fence = placement.fence
        attempt = Attempt(folder, plan, task, engine, collator, stores, control, recorder, saver, stop, watchdog, fence)
        return attempt.live()
    finally:
        recorder.close()


def _correct(plan: Plan, folder: AttemptFolder, placement: Placement, recorder: Recorder) -> None:
    """``plan.json`` says from here on what a probe made of it."""
    recorder.phase(PHASE, notice=plan.notices[-1])
    if placement.leads:
        with placement.fence.hold():
            write_plan(plan, folder.plan)


def _opened(plan: Plan, split: str) -> SampleStore:
    """A split; of one that is scored, a rehearsal's slice."""
    store = SampleStore.open(plan.data, split)
    return store.first(plan.rehearsal.score_samples) if plan.rehearsal and split in (VALIDATION, TEST) else store


def _same_plan(plan: Plan, control: Control) -> None:
    said = control.gather(plan.model_dump_json())
    if len(set(said)) != 1:
        raise RunFailed("the ranks were started with different plans")


def _keep_encoder(folder: Path, tokenizer: Path, model: PreTrainedModel) -> None:
    """Config and tokenizer go into the run, so that it can be exported when the caches are gone."""
    remove_tree(folder)
    shutil.copytree(tokenizer, folder)
    (folder / "config.json").write_text(export_config(model), encoding="utf-8")
    settings = folder / "tokenizer_config.json"
    settings.write_text(export_tokenizer_config(settings.read_text(encoding="utf-8"), model), encoding="utf-8")
