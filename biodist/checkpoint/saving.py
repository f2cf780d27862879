"""Saving: staged, synced, renamed. A checkpoint exists whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from biodist.checkpoint.buffers import bytes_of, digest_of, dtype_of
from biodist.checkpoint.fragments import Fragment, Outline, Share
from biodist.checkpoint.manifest import (
    NAME,
    VERSION,
    Cursor,
    Manifest,
    ParameterPieces,
    Piece,
    ScalerState,
    ShardFile,
    StoredBuffer,
    buffer_name,
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
class _Buffer:
    """What a rank holds of one buffer."""

    dtype: str
    shape: tuple[int, ...]
    digest: str


@dataclass(frozen=True)
class _Given:
    """One fragment in a rank's shard."""

    name: str
    shape: tuple[int, ...]
    frozen: bool
    piece: Piece


@dataclass(frozen=True)
class _Written:
    """One rank's word on its shard, and on what it knows of the whole."""

    file: str
    shard: ShardFile | None = None
    given: tuple[_Given, ...] = ()
    outlines: Mapping[str, Outline] | None = None
    buffers: Mapping[str, _Buffer] | None = None
    scaler: ScalerState | None = None
    error: str | None = None


def save(
    folder: Path,
    moment: Moment,
    share: Share,
    ranks: Ranks,
    publishing: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Manifest:
    """Writes one checkpoint of all ranks under ``folder`` and publishes it; every rank must call.

    An error on any rank reaches all of them, so that none waits for another. Rank 0 enters
    ``publishing`` for the rename, and it raises where this attempt may no longer write.

    Raises:
        RunFailed: a rank could not write its shard, or the shards are not the whole model; nothing was published, the
            staging folder is gone.
    """
    staging = folder / f"{STAGING}{moment.attempt:04d}-{PREFIX}{moment.step:08d}"
    _agree(ranks, lambda: _make_staging(staging) if ranks.rank == 0 else None)
    written = ranks.gather(_write_own(staging, share, ranks))
    try:
        _refuse_unwritten(folder, moment.step, written)
        manifest = _manifest(moment, written)
        _agree(ranks, lambda: _publish(folder, staging, manifest, publishing) if ranks.rank == 0 else None)
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


def _write_own(staging: Path, share: Share, ranks: Ranks) -> _Written:
    """Writes this rank's shard, and rank 0 the buffers; an error is returned, so that the others hear of it."""
    name = f"shard-{ranks.rank:05d}-of-{ranks.world_size:05d}.safetensors"
    try:
        own = list(share.fragments)
        held = {n: _Buffer(dtype_of(n, b), tuple(b.shape), digest_of(b)) for n, b in share.buffers.items()}
        entries = [entry for fragment in own for entry in _entries(fragment)]
        if ranks.rank == 0:
            entries += [_buffer_entry(n, buffer) for n, buffer in share.buffers.items()]
        return _Written(
            name,
            write_shard(staging / name, entries),
            tuple(_Given(f.name, f.shape, f.frozen, Piece(file=name, start=f.start, count=f.count)) for f in own),
            dict(share.outlines),
            held,
            share.scaler,
        )
    except OSError as error:
        return _Written(name, error=f"{error.strerror or error} ({staging / name})")
    except Exception as error:
        return _Written(name, error=f"{type(error).__name__}: {error} ({staging / name})")


def _entries(fragment: Fragment) -> list[Entry]:
    return [
        Entry(
            tensor_name(part, fragment.name, fragment.start),
            (fragment.count,),
            lambda tensor=tensor: in_chunks(tensor.detach().cpu().numpy()),  # type: ignore[misc]
        )
        for part, tensor in fragment.parts().items()
    ]


def _buffer_entry(name: str, buffer: Tensor) -> Entry:
    return Entry(buffer_name(name), tuple(buffer.shape), lambda: iter([bytes_of(buffer)]), dtype_of(name, buffer))


def _manifest(moment: Moment, written: list[_Written]) -> Manifest:
    """Of what the ranks wrote. Every rank makes it from the same words, and so all fail or none.

    Raises:
        RunFailed: what was written is not the whole model, once; the parameters and buffers concerned are named.
    """
    first = written[0]
    outlines = first.outlines or {}
    pieces: dict[str, list[Piece]] = {}
    for given in (given for shard in written for given in shard.given):
        pieces.setdefault(given.name, []).append(given.piece)
    manifest = Manifest(
        version=VERSION,
        **vars(moment),
        world_size=len(written),
        files={shard.file: shard.shard for shard in written if shard.shard},
        parameters={
            name: ParameterPieces(
                shape=outline.shape,
                frozen=outline.frozen,
                pieces=tuple(sorted(pieces.get(name, []), key=lambda piece: piece.start)),
            )
            for name, outline in sorted(outlines.items())
        },
        buffers={
            name: StoredBuffer(file=first.file, dtype=buffer.dtype, shape=buffer.shape)
            for name, buffer in sorted((first.buffers or {}).items())
        },
        scaler=first.scaler,
    )
    if wrong := [*_differences(moment, written), *_strangers(outlines, written), *manifest.holes()]:
        raise RunFailed(
            f"the shards of step {moment.step} do not make a whole checkpoint, so it was not published: "
            + "; ".join(wrong[:5])
            + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        )
    return manifest.signed()


def _differences(moment: Moment, written: list[_Written]) -> Iterator[str]:
    """Where a rank knows something else than rank 0. Under ddp rank 0's buffers are everybody's at the next step."""
    first = written[0]
    for rank, other in enumerate(written[1:], start=1):
        yield from (f"{name}: rank {rank}'s model has another" for name in _unequal(first.outlines, other.outlines))
        if moment.strategy != "ddp":
            yield from (f"buffer {name}: rank {rank} holds another" for name in _unequal(first.buffers, other.buffers))
        if first.scaler != other.scaler:
            yield f"loss scale: rank {rank} has {other.scaler}, rank 0 {first.scaler}"


def _unequal(one: Mapping[str, object] | None, other: Mapping[str, object] | None) -> list[str]:
    one, other = one or {}, other or {}
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _strangers(outlines: Mapping[str, Outline], written: list[_Written]) -> Iterator[str]:
    """Fragments that are not the model's."""
    for rank, given in ((rank, given) for rank, shard in enumerate(written) for given in shard.given):
        outline = Outline(given.shape, given.frozen)
        if (expected := outlines.get(given.name)) != outline:
            yield f"{given.name}: rank {rank} gave {_said(outline)}, the model has {_said(expected)}"


def _said(outline: Outline | None) -> str:
    return f"{'a frozen' if outline.frozen else 'a trained'} {outline.shape}" if outline else "none"


def _publish(
    folder: Path, staging: Path, manifest: Manifest, publishing: Callable[[], AbstractContextManager[object]]
) -> None:
    final = folder / f"{PREFIX}{manifest.step:08d}"
    with (staging / NAME).open("w", encoding="utf-8") as file:
        file.write(manifest.text())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(staging)
    with publishing():
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
        # One rename first: an attempt that wakes up now finds its staging folder whole or not at all.
        removed = path.with_name(f"{STAGING}removed-{path.name.removeprefix(STAGING)}")
        path.rename(removed)
        shutil.rmtree(removed)
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
