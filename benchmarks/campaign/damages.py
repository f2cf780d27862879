"""What can be wrong with a checkpoint on disk, each done to a real one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

from biodist.checkpoint.manifest import NAME, read_manifest
from biodist.checkpoint.shards import file_digest
from biodist.errors import EXIT_DONE, EXIT_FAILED, EXIT_USER
from biodist.run.folder import RunFolder

MANIFEST_FLIPS = 6  # of many bits of a manifest, so many are tried


class Outcome(Enum):
    """What the next command must do."""

    PASSED_OVER = EXIT_DONE  # goes on from the checkpoint before, says so, and ends with equal bits
    NONE_VERIFIES = EXIT_FAILED  # nothing to go on from: nothing is changed
    REFUSED = EXIT_USER  # it is not this run's: nothing is changed


@dataclass(frozen=True)
class Damage:
    """One thing done to a run's checkpoints."""

    name: str
    act: Callable[[RunFolder], None]
    outcome: Outcome
    said: tuple[str, ...]  # what the user must be told


def damages(newest: Path) -> Iterator[Damage]:
    """All of them, for runs whose newest checkpoint is like this one."""
    for file in sorted(path.name for path in newest.iterdir()):
        yield from _of_file(newest.name, file)
    for number in range(MANIFEST_FLIPS):
        yield _one(newest.name, f"{NAME}: another bit flipped, {number + 1}", _flip(NAME, number + 1))
    yield _one(newest.name, f"{NAME}: empty", lambda at: (at / NAME).write_bytes(b""))
    yield _one(newest.name, f"{NAME}: a piece is missing", _changed(_without_piece))
    yield _one(newest.name, f"{NAME}: a file is not listed", _changed(_without_file))
    yield _one(newest.name, f"{NAME}: of another checkpoint", _of_another)
    yield _one(newest.name, "the folder holds an older checkpoint", _older_inside)
    yield _foreign("core_digest", "by another recipe")
    yield _foreign("data_fingerprint", "on other data")
    for name, act in (("no manifest", _remove(NAME)), ("a bit of a shard flipped", _flip("shard-00000", 1))):
        yield Damage(
            f"every checkpoint: {name}", _each(act), Outcome.NONE_VERIFIES, ("verifies", "nothing was changed")
        )


def _of_file(checkpoint: str, file: str) -> Iterator[Damage]:
    for name, act in (
        ("truncated", _truncate(file)),
        ("one bit flipped", _flip(file, 0)),
        ("removed", _remove(file)),
        ("unreadable (a folder)", _unreadable(file)),
    ):
        yield _one(checkpoint, f"{file}: {name}", act)


def _one(checkpoint: str, name: str, act: Callable[[Path], Any]) -> Damage:
    """Damage to the newest checkpoint alone."""
    return Damage(name, lambda run: _do(act, run), Outcome.PASSED_OVER, (checkpoint,))


def _do(act: Callable[[Path], Any], run: RunFolder) -> None:
    act(newest_of(run))


def _each(act: Callable[[Path], Any]) -> Callable[[RunFolder], None]:
    def on_each(run: RunFolder) -> None:
        for checkpoint in run.checkpoints.glob("step-*"):
            act(checkpoint)

    return on_each


def newest_of(run: RunFolder) -> Path:
    """The folder of the newest checkpoint."""
    return max(run.checkpoints.glob("step-*"))


def _named(checkpoint: Path, start: str) -> Path:
    return min(checkpoint.glob(f"{start}*"))


def _truncate(file: str) -> Callable[[Path], None]:
    def act(checkpoint: Path) -> None:
        path = _named(checkpoint, file)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return act


def _flip(file: str, seed: int) -> Callable[[Path], None]:
    def act(checkpoint: Path) -> None:
        path = _named(checkpoint, file)
        data = bytearray(path.read_bytes())
        bit = Random(seed).randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)

    return act


def _remove(file: str) -> Callable[[Path], None]:
    return lambda checkpoint: _named(checkpoint, file).unlink()


def _unreadable(file: str) -> Callable[[Path], None]:
    """A folder in its place: root can read a file of any mode."""

    def act(checkpoint: Path) -> None:
        path = _named(checkpoint, file)
        path.unlink()
        path.mkdir()

    return act


def _changed(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def act(checkpoint: Path) -> None:
        manifest = json.loads((checkpoint / NAME).read_text())
        change(manifest)
        (checkpoint / NAME).write_text(json.dumps(manifest))

    return act


def _without_piece(manifest: dict[str, Any]) -> None:
    next(iter(manifest["parameters"].values()))["pieces"].pop()


def _without_file(manifest: dict[str, Any]) -> None:
    manifest["files"].popitem()


def _of_another(checkpoint: Path) -> None:
    shutil.copy(sorted(checkpoint.parent.glob("step-*"))[-2] / NAME, checkpoint / NAME)


def _older_inside(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    shutil.copytree(max(checkpoint.parent.glob("step-*")), checkpoint)


def _foreign(key: str, said: str) -> Damage:
    def act(checkpoint: Path) -> None:
        manifest = read_manifest(checkpoint)
        assert manifest is not None
        (checkpoint / NAME).write_text(manifest.model_copy(update={key: "0" * 64}).signed().model_dump_json())

    return Damage(f"{NAME}: {key} of another run", _each(act), Outcome.REFUSED, (said,))


def digests(folder: Path) -> dict[str, str]:
    """Digest of each file below a folder, by path."""
    return {str(p.relative_to(folder)): file_digest(p).sha256 for p in sorted(folder.rglob("*")) if p.is_file()}
