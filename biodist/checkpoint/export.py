"""A Hugging Face folder out of a checkpoint: streamed, one chunk in memory at a time, no torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from biodist.checkpoint.reading import Checkpoint
from biodist.checkpoint.shards import Entry, write_shard
from biodist.run.durable import remove_tree


def export(
    checkpoint: Checkpoint,
    encoder: Path,
    folder: Path,
    staging: Path | None = None,
    publishing: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Writes ``folder``: model.safetensors (weights in fp32, buffers) beside the config and tokenizer in ``encoder``.

    ``from_pretrained`` loads it. The folder appears whole or not at all; one that is there is replaced. ``publishing``
    is entered for that. ``staging``, on the same disk, is where it is made; by default beside ``folder``.

    Raises:
        OSError: the file system refused; an earlier folder is untouched.
    """
    staging = staging or folder.with_name(f".staging-{folder.name}")
    remove_tree(staging)
    try:
        shutil.copytree(encoder, staging)
        write_shard(staging / "model.safetensors", [*_weights(checkpoint), *_buffers(checkpoint)], {"format": "pt"})
        with publishing():
            remove_tree(folder)
            staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _weights(checkpoint: Checkpoint) -> Iterator[Entry]:
    for name, parameter in checkpoint.manifest.parameters.items():

        def chunks(name: str = name, count: int = parameter.count) -> Iterator[np.ndarray]:
            return checkpoint.read("weight", name, 0, count)

        yield Entry(name, parameter.shape, chunks)


def _buffers(checkpoint: Checkpoint) -> Iterator[Entry]:
    for name, buffer in checkpoint.manifest.buffers.items():
        yield Entry(name, buffer.shape, lambda name=name: iter([checkpoint.read_buffer(name)]), buffer.dtype)  # type: ignore[misc]
