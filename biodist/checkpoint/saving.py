"""Saving: staged, synced, renamed. A checkpoint exists whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from biodist.checkpoint.fragments import Fragment
from biodist.checkpoint.manifest import (
    NAME,
    Cursor,
    Manifest,
    ParameterPieces,
    Piece,
    ShardFile,
    read_manifest,
    tensor_name,
)
from biodist.checkpoint.ranks import Ranks
from biodist.checkpoint.reading import PREFIX, problems_of
from biodist.checkpoint.shards import Entry, in_chunks, write_shard
from biodist.errors import RunFailed
from biodist.run.durable import remove_tree, sync_folder

STAGING = ".staging-"  # marks a folder as ours and unfinished


@dataclass(frozen=True)
class Moment:
    """What a checkpoint says of the instant it holds."""

    step: int
    cursor: Cursor
    attempt: int
    strategy: str
    core_digest: str
    data_fingerprint: str


@dataclass(frozen=True)
class _Written:
    """One rank's word on its shard."""

    file: str
    shard: ShardFile | None
    pieces: tuple[tuple[str, tuple[int, ...], int, int], ...]  # parameter, its shape, start, count
    error: str | None


def save(
    folder: Path, moment: Moment, fragments: Iterable[Fragment], ranks: Ranks, may_publish: Callable[[], None]
) -> Manifest:
    """Writes one checkpoint of all ranks under ``folder`` and publishes it; every rank must call.

    An error on any rank reaches all of them, so that none waits for another. ``may_publish`` is asked by rank 0 just
    before the rename, and raises where this attempt may no longer write.

    Raises:
        RunFailed: a rank could not write its shard; nothing was published, the staging folder is gone.
    """
    staging = folder / f"{STAGING}{moment.attempt:04d}-{PREFIX}{moment.step:08d}"
    _agree(ranks, lambda: _make_staging(staging) if ranks.rank == 0 else None)
    written = ranks.gather(_write_own(staging, fragments, ranks))
    try:
        _refuse_unwritten(folder, moment.step, written)
        manifest = _manifest(moment, written)
        _agree(ranks, lambda: _publish(folder, staging, manifest, may_publish) if ranks.rank == 0 else None)
    except BaseException:
        if ranks.rank == 0:
            shutil.rmtree(staging, ignore_errors=True)
        raise
    return manifest


def _refuse_unwritten(folder: Path, step: int, written: list[_Written]) -> None:
    failed = [f"rank {rank}: {w.error}" for rank, w in enumerate(written) if w.error]
    if failed:
        raise RunFailed(
            f"the checkpoint of step {step} could not be written to {folder}; earlier ones are untouched. "
            + "; ".join(failed)
            + ". Make room (biodist checkpoints RUN list), then run the same command again."
        )


def _make_staging(staging: Path) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)


def _write_own(staging: Path, fragments: Iterable[Fragment], ranks: Ranks) -> _Written:
    """Writes this rank's shard; an error is returned, not raised, so that the others hear of it."""
    name = f"shard-{ranks.rank:05d}-of-{ranks.world_size:05d}.safetensors"
    try:
        own = list(fragments)
        shard = write_shard(staging / name, [entry for fragment in own for entry in _entries(fragment)])
        return _Written(name, shard, tuple((f.name, f.shape, f.start, f.count) for f in own), None)
    except OSError as error:
        return _Written(name, None, (), f"{error.strerror or error} ({staging / name})")
    except Exception as error:
        return _Written(name, None, (), f"{type(error).__name__}: {error} ({staging / name})")


def _entries(fragment: Fragment) -> list[Entry]:
    return [
        Entry(
            tensor_name(part, fragment.name, fragment.start),
            (fragment.count,),
            lambda tensor=tensor: in_chunks(tensor.detach().cpu().numpy()),  # type: ignore[misc]
        )
        for part, tensor in fragment.parts().items()
    ]


def _manifest(moment: Moment, written: list[_Written]) -> Manifest:
    shapes: dict[str, tuple[int, ...]] = {}
    pieces: dict[str, list[Piece]] = {}
    for shard in written:
        for name, shape, start, count in shard.pieces:
            shapes[name] = shape
            pieces.setdefault(name, []).append(Piece(file=shard.file, start=start, count=count))
    manifest = Manifest(
        **vars(moment),
        world_size=len(written),
        files={shard.file: shard.shard for shard in written if shard.shard},
        parameters={
            name: ParameterPieces(shape=shapes[name], pieces=tuple(sorted(pieces[name], key=lambda p: p.start)))
            for name in sorted(shapes)
        },
    )
    if holes := manifest.holes():
        raise RunFailed(
            f"the shards of step {moment.step} do not make a whole checkpoint, so it was not published: "
            + "; ".join(holes[:5])
        )
    return manifest.signed()


def _publish(folder: Path, staging: Path, manifest: Manifest, may_publish: Callable[[], None]) -> None:
    final = folder / f"{PREFIX}{manifest.step:08d}"
    with (staging / NAME).open("w", encoding="utf-8") as file:
        file.write(manifest.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(staging)
    may_publish()
    if final.exists():
        if read_manifest(final) is not None and not problems_of(final):
            shutil.rmtree(staging)  # the same step, saved before a kill: what is proven is not replaced
            return
        remove_checkpoint(final)
    staging.rename(final)
    sync_folder(folder)


def remove_checkpoint(checkpoint: Path) -> None:
    """Deletes a checkpoint, its manifest first: a half-deleted one is no checkpoint."""
    if (checkpoint / NAME).is_dir():  # damaged so; what is no file cannot be deleted as one
        shutil.rmtree(checkpoint / NAME)
    remove_tree(checkpoint, first=[NAME])


def remove_staging(folder: Path) -> list[str]:
    """Deletes what dead attempts left unfinished; gives the names. Only for the holder of the run's lease."""
    stale = sorted(path for path in folder.glob(f"{STAGING}*")) if folder.is_dir() else []
    for path in stale:
        shutil.rmtree(path)
    return [path.name for path in stale]


def _agree(ranks: Ranks, act: Callable[[], None]) -> None:
    """Runs ``act`` and lets every rank hear of an error in any: nobody is left waiting."""
    error: Exception | None = None
    try:
        act()
    except Exception as caught:
        error = caught
    said = ranks.gather(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error if not isinstance(error, OSError) else RunFailed(f"the checkpoint was not published: {error}")
    if first := next((word for word in said if word), None):
        raise RunFailed(f"the checkpoint was not published: {first}")
