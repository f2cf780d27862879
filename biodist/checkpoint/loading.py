"""Loading: the newest checkpoint that verifies, its every byte proven, into any strategy at any world size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from xxhash import xxh3_128

from biodist.checkpoint.fragments import PARTS, Fragment, TrainingState
from biodist.checkpoint.ranks import Ranks
from biodist.checkpoint.reading import Checkpoint, folders_in, open_checkpoint, problems_of
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
    names = ranks.share([path.name for path in reversed(folders_in(folder))])
    passed_over: list[str] = []
    for name in names:
        checkpoint = open_checkpoint(folder / name)
        own = problems_of(folder / name, slice(ranks.rank, None, ranks.world_size))
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
    """Fills this rank's part of ``state`` from the pieces that hold it, and compares it afterwards.

    What was read from the verified files is hashed on its way; once every copy of the weights was brought up to date,
    the live weights and moments are hashed again. A strategy that put anything elsewhere is found out here.

    Raises:
        RunFailed: the model has other parameters or shapes than the checkpoint, or the state is not what was read.
    """
    read = {part: xxh3_128() for part in PARTS}
    with torch.no_grad():
        for fragment in state.held():
            _same_shape(checkpoint, fragment)
            for part, tensor in fragment.parts().items():
                at = 0
                for values in checkpoint.read(part, fragment.name, fragment.start, fragment.start + fragment.count):
                    tensor[at : at + len(values)].copy_(torch.from_numpy(values))
                    read[part].update(values.data.cast("B"))
                    at += len(values)
                if at != fragment.count:
                    raise RunFailed(f"{checkpoint.folder}: {at} of {fragment.count} values of {part}/{fragment.name}")
    state.loaded(checkpoint.step)
    live = {part: xxh3_128() for part in PARTS}
    for fragment in state.held():
        for part, tensor in fragment.parts().items():
            live[part].update(tensor.detach().cpu().numpy().data.cast("B"))
    if wrong := [part for part in PARTS if read[part].digest() != live[part].digest()]:
        raise RunFailed(
            f"{checkpoint.folder}: after loading, {', '.join(wrong)} in memory is not what was read. This version of "
            "DeepSpeed or torch keeps its state elsewhere than biodist expects; nothing was changed"
        )


def _same_shape(checkpoint: Checkpoint, fragment: Fragment) -> None:
    theirs = checkpoint.manifest.parameters
    if fragment.name not in theirs or theirs[fragment.name].shape != fragment.shape:
        found = theirs[fragment.name].shape if fragment.name in theirs else "nothing"
        raise RunFailed(
            f"{checkpoint.folder}: the model's {fragment.name} is {fragment.shape}, the checkpoint has {found}"
        )
