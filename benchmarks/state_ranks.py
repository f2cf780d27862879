"""The program of one rank of `checkpoint.py`: a large state, saved, restored and copied in several ways, in turns.

``python state_ranks.py FOLDER RANK WORLD_SIZE PARENT`` reads FOLDER/argument.json; rank 0 adds a row a case to the file
that is named there. Everything it writes beside lies in FOLDER and is deleted on the way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from state_rows import CaseName, Row, Settings, turns
from torch import Tensor
from transformers import BertConfig, BertForTokenClassification

from biodist.checkpoint.background import Snapshot
from biodist.checkpoint.fragments import TrainingState, training_state
from biodist.checkpoint.loading import load, load_newest
from biodist.checkpoint.manifest import Cursor
from biodist.checkpoint.reading import checkpoints_in
from biodist.checkpoint.saving import Moment, save
from biodist.plan.plan import ModelShape, Plan
from biodist.run.durable import JsonLines, sync_folder, write_json
from biodist.run.provenance import Commit
from biodist.run.tether import tether
from biodist.training.engine import Engine
from biodist.training.extensions import COLLECTIVE, build
from biodist.training.group import Control, process_group
from biodist.training.placement import Placement

STEP = 1
TAG = "deepspeed"
COPIES = 5  # of which the middle one counts
READ_BYTES = 2**24


@dataclass(frozen=True)
class State:
    """One rank's engine with its moments, and where it is saved."""

    engine: Engine
    training: TrainingState
    control: Control
    plan: Plan
    folder: Path  # of all ranks

    def save_biodist(self, name: str = "biodist") -> None:
        save(self.folder / name, self._moment(), self.training.share(), self.control)

    def save_deepspeed(self) -> None:
        """And what makes it outlive a power cut: each rank syncs its own files, rank 0 the others and the folders."""
        there = self.folder / TAG
        self.engine.wrapped.save_checkpoint(str(there), tag=TAG)
        for path in there.rglob("*.pt"):
            owners = [rank for rank in range(self.control.world_size) if f"_pp_rank_{rank}_" in path.name]
            if self.control.rank in (owners or [0]):
                _sync(path)
        if self.control.rank == 0:
            _sync(there / "latest")
            sync_folder(there / TAG)
            sync_folder(there)

    def save_dd(self) -> None:
        """The bytes of a checkpoint that is in the page cache, as many processes as there are ranks."""
        if self.control.rank != 0:
            return
        there = self.folder / "dd"
        there.mkdir()
        shards = sorted((self.folder / "source").glob("step-*/*.safetensors"))
        command = ["dd", "bs=16M", "conv=fsync", "status=none"]
        copies = [subprocess.Popen([*command, f"if={shard}", f"of={there / shard.name}"]) for shard in shards]
        codes = [copy.wait() for copy in copies]
        sync_folder(there)
        if any(codes):
            raise OSError(f"dd ended with {codes}")

    def restore_biodist(self) -> None:
        found = load_newest(self.folder / "biodist", self.training, self.control, lambda checkpoint: None)
        assert found.checkpoint is not None

    def restore_unproven(self) -> None:
        (checkpoint,) = checkpoints_in(self.folder / "biodist")
        load(checkpoint, self.training)

    def restore_deepspeed(self) -> None:
        loaded, _ = self.engine.wrapped.load_checkpoint(str(self.folder / TAG), tag=TAG)
        assert loaded is not None

    def _moment(self) -> Moment:
        cursor = Cursor(epoch=1, step_of_epoch=STEP)
        return Moment(STEP, cursor, 1, self.plan.strategy, self.plan.core_digest, self.plan.data.fingerprint)


@dataclass(frozen=True)
class Copies:
    """Memory for the copies of one repetition, there before they are timed."""

    state: State
    snapshot: Snapshot
    tensors: tuple[Tensor, ...]  # the state's own memory, as few flat tensors
    room: Tensor  # as large as the largest of them

    @classmethod
    def of(cls, state: State) -> Copies:
        snapshot = Snapshot()
        snapshot.take(state.training.share())
        parts = [part for fragment in state.training.owned() for part in fragment.parts().values()]
        storages = {part.untyped_storage().data_ptr(): part.untyped_storage() for part in parts}
        tensors = tuple(torch.empty(0).set_(storage) for storage in storages.values())
        room = torch.zeros(max(len(tensor) for tensor in tensors))
        return cls(state, snapshot, tensors, room)

    def copy_biodist(self) -> None:
        self.snapshot.take(self.state.training.share())

    def copy_plain(self) -> None:
        for tensor in self.tensors:
            self.room[: len(tensor)].copy_(tensor)


@dataclass(frozen=True)
class Record:
    """Where the rows go; rank 0 alone writes."""

    state: State
    path: Path
    commit: Commit
    settings: Settings

    def measure(self, repetition: int, case: CaseName, act: Callable[[], None], times: int = 1) -> None:
        """Times ``act`` from its common start to the end of the slowest rank; of several times the middle one."""
        taken = sorted(self._seconds(act) for _ in range(times))
        if self.state.control.rank:
            return
        row = Row(
            commit=self.commit,
            settings=self.settings,
            repetition=repetition,
            case=case,
            bytes=self._bytes(case),
            seconds=taken[len(taken) // 2],
            time=time.time(),
        )
        with JsonLines(self.path) as lines:
            lines.append(row.model_dump(mode="json"))

    def _seconds(self, act: Callable[[], None]) -> float:
        control = self.state.control
        if control.rank == 0:
            os.sync()  # what was written or deleted before is not paid for here
        control.barrier()
        began = time.perf_counter()
        act()
        control.barrier()
        return time.perf_counter() - began

    def _bytes(self, case: CaseName) -> int:
        if case.startswith("copy"):
            return 12 * self.settings.parameters
        return sum(path.stat().st_size for path in _files(self.state.folder / _folder(case)))


def main() -> None:
    folder, rank, world_size, parent = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    tether(parent)
    argument = json.loads((folder / "argument.json").read_text(encoding="utf-8"))
    plan = Plan.model_validate(argument["plan"])
    placement = Placement(folder, rank, rank, world_size, f"file://{folder}/rendezvous", "", parent)
    torch.set_num_threads(plan.machine.threads_per_process)
    with process_group(plan, placement) as control:
        build(COLLECTIVE, lambda line: None)
        state = _build(plan, placement, control)
        settings = Settings.model_validate(argument["settings"])
        record = Record(state, Path(argument["out"]), Commit.model_validate(argument["commit"]), settings)
        state.save_biodist("source")
        for repetition in argument["repetitions"]:
            _repeat(state, record, repetition)
    write_json(folder / f"result-{rank}.json", "done")


def _build(plan: Plan, placement: Placement, control: Control) -> State:
    shape = plan.model.shape
    torch.manual_seed(plan.recipe.train.seed)
    engine = Engine(BertForTokenClassification(_config(shape)), plan, placement, control)
    optimizer = engine.zero_optimizer or engine.optimizer.optimizer
    training = training_state(plan.strategy, engine.parameters, optimizer, control.rank, control.world_size)
    with torch.no_grad():
        for fragment in training.owned():  # as if after a step
            fragment.exp_avg.normal_(0, 1e-3)
            fragment.exp_avg_sq.uniform_(0, 1e-6)
    training.loaded(STEP)
    return State(engine, training, control, plan, placement.attempt)


def _config(shape: ModelShape) -> BertConfig:
    return BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_positions,
        num_labels=3,  # type: ignore[call-arg]
    )


def _repeat(state: State, record: Record, repetition: int) -> None:
    """Every case once. What is saved is restored, then deleted."""
    saves = {"biodist": state.save_biodist, "deepspeed": state.save_deepspeed, "dd": state.save_dd}
    restores = {
        "biodist": state.restore_biodist,
        "unproven": state.restore_unproven,
        "deepspeed": state.restore_deepspeed,
    }
    copies: Copies | None = None
    for case in turns(repetition):
        kind, name = case.split("-")[:2]
        match kind:
            case "save":
                _into_cache(state, "source")
                record.measure(repetition, case, saves[name])
                if name == "dd":
                    _delete(state, "dd")
            case "restore":
                (_out_of_cache if case.endswith("cold") else _into_cache)(state, _folder(case))
                record.measure(repetition, case, restores[name])
            case "copy":
                if copies is None:
                    for saved in ("biodist", TAG):
                        _delete(state, saved)
                    copies = Copies.of(state)
                record.measure(repetition, case, getattr(copies, f"copy_{name}"), COPIES)


def _delete(state: State, name: str) -> None:
    if state.control.rank == 0:
        shutil.rmtree(state.folder / name, ignore_errors=True)
    state.control.barrier()


def _into_cache(state: State, name: str) -> None:
    """Files into the page cache."""
    for path in _files(state.folder / name) if state.control.rank == 0 else ():
        with path.open("rb", buffering=0) as file:
            while file.read(READ_BYTES):
                pass
    state.control.barrier()


def _out_of_cache(state: State, name: str) -> None:
    """Files out of the page cache; they were synced."""
    for path in _files(state.folder / name) if state.control.rank == 0 else ():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    state.control.barrier()


def _folder(case: CaseName) -> str:
    """Where the files of a save or a restore lie."""
    name = case.split("-")[1]
    return "biodist" if name == "unproven" else name


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
