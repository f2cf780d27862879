"""Saving while training goes on: the loop pays for a copy, a thread does the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from biodist.checkpoint.fragments import Fragment, Share
from biodist.checkpoint.manifest import Manifest


class Snapshot:
    """Memory of the host that holds one rank's share; made at the first save and used again by each later one."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str, int], Tensor] = {}  # part, name, start

    def take(self, share: Share) -> Share:
        """A copy of the share, as it is now. That of the last call is overwritten."""
        fragments = [
            Fragment(
                fragment.name,
                fragment.shape,
                fragment.start,
                **{part: self._copy((part, fragment.name, fragment.start), t) for part, t in fragment.parts().items()},
            )
            for fragment in share.fragments
        ]
        buffers = {name: self._copy(("buffer", name, 0), tensor) for name, tensor in share.buffers.items()}
        if any(tensor.is_pinned() for tensor in self._held.values()):
            torch.cuda.synchronize()
        return replace(share, fragments=fragments, buffers=buffers)

    def _copy(self, key: tuple[str, str, int], tensor: Tensor) -> Tensor:
        if key not in self._held:
            pinned = tensor.device.type == "cuda"
            self._held[key] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        return self._held[key].copy_(tensor.detach(), non_blocking=True)


@dataclass(frozen=True)
class Saved:
    """A published checkpoint, and the seconds from its start to its publication."""

    manifest: Manifest
    seconds: float


class BackgroundSave:
    """One save at a time, in order. A failed one is raised by the next ``wait``."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._saved: Saved | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], Manifest]) -> None:
        """Runs ``work`` in a thread of its own; ``wait`` must have been called since the last start."""
        assert self._thread is None
        began = time.perf_counter()

        def run() -> None:
            try:
                manifest = work()
                self._saved = Saved(manifest, time.perf_counter() - began)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run, name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> Saved | None:
        """Waits for the save under way; what it published, or None when there was none. Raises what it raised."""
        if self._thread is None:
            return None
        self._thread.join()
        saved, error = self._saved, self._error
        self._thread = self._saved = self._error = None
        if error is not None:
            raise error
        return saved
