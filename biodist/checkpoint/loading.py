"""Loading: the newest checkpoint that verifies, its every byte proven, into any strategy at any world size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from xxhash import xxh3_128

from biodist.checkpoint.buffers import bytes_of, dtype_of, fill
from biodist.checkpoint.fragments import PARTS, Fragment, TrainingState
from biodist.checkpoint.manifest import tensor_name
from biodist.checkpoint.ranks import Ranks
from biodist.checkpoint.reading import Checkpoint, folders_in, manifest_problems, open_checkpoint, problems_of
from biodist.checkpoint.shards import Target, read_into, read_proving
from biodist.errors import Problem, RunFailed, UserError


@dataclass(frozen=True)
class Found:
    """The newest checkpoint that verifies (None when there is none at all), and what newer ones were passed over."""

    checkpoint: Checkpoint | None
    passed_over: tuple[str, ...]


def newest_verified(folder: Path, ranks: Ranks) -> Found:
    """The newest checkpoint under ``folder`` that verifies; the ranks share the hashing. Every rank must call.

    Raises:
        RunFailed: there are checkpoints and none verifies. Never a silent fresh start.
    """
    share = slice(ranks.rank, None, ranks.world_size)
    return _newest(folder, ranks, lambda checkpoint: problems_of(checkpoint.folder, share))


def load_newest(folder: Path, state: TrainingState, ranks: Ranks, accept: Callable[[Checkpoint], None]) -> Found:
    """Fills ``state`` from the newest checkpoint under ``folder`` that verifies, proving it on the way: each byte is
    read once, hashed, and put where it belongs. Every rank must call.

    One that turns out damaged has filled some of the state with what is not to be trusted: the next one fills it all
    anew, and without another the run fails. ``accept`` sees each checkpoint before it is read, and raises what it has
    against it.

    Raises:
        RunFailed: there are checkpoints and none verifies; or the model has other parameters or shapes, or the state is
            not what was read.
    """
    filling: list[_Filling] = []

    def prove(checkpoint: Checkpoint) -> list[str]:
        if problems := manifest_problems(checkpoint.folder, checkpoint.manifest):
            return problems
        accept(checkpoint)
        filling[:] = [_Filling(checkpoint, state)]
        return filling[0].fill(slice(ranks.rank, None, ranks.world_size))

    found = _newest(folder, ranks, prove)
    if found.checkpoint:
        filling[0].settle()
    return found


def _newest(folder: Path, ranks: Ranks, prove: Callable[[Checkpoint], list[str]]) -> Found:
    """The newest checkpoint in which no rank finds a problem."""
    names = ranks.share([path.name for path in reversed(folders_in(folder))])
    passed_over: list[str] = []
    for name in names:
        checkpoint = open_checkpoint(folder / name)
        own = prove(checkpoint) if checkpoint else problems_of(folder / name)
        problems = sorted({problem for said in ranks.gather(own) for problem in said})
        if not problems and checkpoint is not None:
            return Found(checkpoint, tuple(passed_over))
        passed_over += problems
    if names:
        raise RunFailed(
            f"no checkpoint in {folder} verifies, and nothing was changed: "
            + "; ".join(passed_over)
            + ". Restore one from a copy, or start a new run in another folder (--run)."
        )
    return Found(None, ())


def refuse_foreign(checkpoint: Checkpoint, core_digest: str, data_fingerprint: str) -> None:
    """A checkpoint of another recipe or other data is not this run's.

    Raises:
        UserError: naming which of the two changed.
    """
    manifest = checkpoint.manifest
    problems = []
    if manifest.core_digest != core_digest:
        problems.append(
            Problem(
                str(checkpoint.folder),
                f"was made by another recipe (core {manifest.core_digest[:8]}, this one is {core_digest[:8]})",
                "resume with the recipe in the run's folder, or start a new run with --run",
            )
        )
    if manifest.data_fingerprint != data_fingerprint:
        problems.append(
            Problem(
                str(checkpoint.folder),
                f"was trained on other data (fingerprint {manifest.data_fingerprint[:8]}, these files give "
                f"{data_fingerprint[:8]}): a file, its reader's options or the tokenizer changed",
                "restore the files, or start a new run with --run",
            )
        )
    if problems:
        raise UserError(problems)


def load(checkpoint: Checkpoint, state: TrainingState) -> None:
    """Fills this rank's part of ``state`` from a checkpoint that was proven before, and compares it afterwards.

    Raises:
        RunFailed: the model has other parameters or shapes than the checkpoint, or the state is not what was read.
    """
    filling = _Filling(checkpoint, state)
    if problems := filling.fill(slice(0)):
        raise RunFailed("; ".join(problems))
    filling.settle()


@dataclass(frozen=True)
class _Place:
    """Where some elements of a parameter go: into ``live``, by way of ``host`` where that lies on a GPU."""

    part: str
    name: str
    own: slice  # of the flattened parameter
    live: Tensor
    host: Tensor


class _Filling:
    """One rank's state, filled from one checkpoint.

    What was read is hashed on its way. Once every copy of the weights was brought up to date, the live weights and
    moments are hashed in the same order: a strategy that put anything elsewhere is found out.
    """

    def __init__(self, checkpoint: Checkpoint, state: TrainingState):
        _refuse_another_model(checkpoint, state)
        self._checkpoint, self._state = checkpoint, state
        self._read = {part: xxh3_128() for part in PARTS}
        self._order: list[_Place] = []  # as hashed

    def fill(self, proven: slice) -> list[str]:
        """Reads this rank's pieces, and proves the files it is given to prove; says what is wrong with them."""
        files = self._checkpoint.manifest.files
        own, wanted, problems = set(sorted(files)[proven]), self._wanted(), []
        for file in sorted(own | wanted.keys()):
            try:
                self._fill_from(file, wanted.get(file, []), file in own)
            except OSError as error:
                problems.append(f"{self._checkpoint.folder.name}/{file}: {error.strerror}")
            except RunFailed as error:
                problems.append(f"{self._checkpoint.folder.name}/{file}: {error}")
        return problems

    def _wanted(self) -> dict[str, list[tuple[Fragment, int]]]:
        """By file: this rank's fragments that have elements there, and where the piece that holds them begins."""
        wanted: dict[str, list[tuple[Fragment, int]]] = {}
        for fragment in self._state.held():
            for piece in self._checkpoint.manifest.parameters[fragment.name].pieces:
                low = max(fragment.start, piece.start) - fragment.start
                high = min(fragment.start + fragment.count, piece.start + piece.count) - fragment.start
                if low < high:
                    wanted.setdefault(piece.file, []).append((fragment.cut(low, high), piece.start))
        return wanted

    def _fill_from(self, file: str, wanted: list[tuple[Fragment, int]], prove: bool) -> None:
        places, targets = self._places(file, wanted)
        path = self._checkpoint.folder / file
        expected = self._checkpoint.manifest.files[file]
        last = -1
        for number, piece in read_proving(path, targets, expected) if prove else read_into(path, targets):
            if number != last:
                self._order.append(places[number])
                last = number
            self._read[places[number].part].update(piece)
        for place in places:
            if place.host is not place.live:
                place.live.copy_(place.host)

    def _places(self, file: str, wanted: list[tuple[Fragment, int]]) -> tuple[list[_Place], list[Target]]:
        places, targets = [], []
        for fragment, first in wanted:
            for part, live in fragment.parts().items():
                host = live if live.device.type == "cpu" else torch.empty_like(live, device="cpu")
                own = slice(fragment.start, fragment.start + fragment.count)
                places.append(_Place(part, fragment.name, own, live, host))
                start = self._checkpoint.shard(file).place(tensor_name(part, fragment.name, first))
                targets.append(Target(start + 4 * (fragment.start - first), host.numpy().data.cast("B")))
        return places, targets

    def settle(self) -> None:
        """Brings every copy up to date and compares; every rank must call, once none has found a problem.

        Raises:
            RunFailed: the state in memory is not what was read.
        """
        manifest = self._checkpoint.manifest
        with torch.no_grad():
            self._state.loaded(manifest.step - (manifest.scaler.skipped if manifest.scaler else 0))
            wrong = [f"buffer {name}" for name in manifest.buffers if not self._fill_buffer(name)]
        if manifest.scaler and self._state.loss_scale:
            self._state.loss_scale.state = manifest.scaler
        if wrong := [*self._differing(), *wrong]:
            raise RunFailed(
                f"{self._checkpoint.folder}: after loading, {', '.join(wrong)} in memory is not what was read. This "
                "version of DeepSpeed or torch keeps its state elsewhere than biodist expects; nothing was changed"
            )

    def _fill_buffer(self, name: str) -> bool:
        raw = self._checkpoint.read_buffer(name)
        fill(self._state.buffers()[name], raw)
        return bytes_of(self._state.buffers()[name]).tobytes() == raw.tobytes()

    def _differing(self) -> list[str]:
        """Parts whose live values are not what was read."""
        live = {part: xxh3_128() for part in PARTS}
        held = {fragment.name: fragment for fragment in self._state.held()}
        for place in self._order:
            fragment = held[place.name]
            own = slice(place.own.start - fragment.start, place.own.stop - fragment.start)
            live[place.part].update(fragment.parts()[place.part][own].detach().cpu().numpy().data.cast("B"))
        return [part for part in PARTS if self._read[part].digest() != live[part].digest()]


def _refuse_another_model(checkpoint: Checkpoint, state: TrainingState) -> None:
    """Raises RunFailed where a parameter or buffer of the model is not the checkpoint's, naming all of them."""
    stored = checkpoint.manifest.parameters
    theirs = {name: _outline(pieces.shape, pieces.frozen) for name, pieces in stored.items()}
    ours = {name: _outline(outline.shape, outline.frozen) for name, outline in state.outlines.items()}
    theirs |= {f"buffer {n}": f"{b.shape} {b.dtype}" for n, b in checkpoint.manifest.buffers.items()}
    ours |= {f"buffer {n}": f"{tuple(b.shape)} {dtype_of(n, b)}" for n, b in state.buffers().items()}
    wrong = [
        f"the model's {name} is {ours.get(name, 'not there')}, the checkpoint has {theirs.get(name, 'nothing')}"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if wrong:
        raise RunFailed(f"{checkpoint.folder}: " + "; ".join(wrong))


def _outline(shape: tuple[int, ...], frozen: bool) -> str:
    return f"{shape} frozen" if frozen else str(shape)
