"""Saving while training goes on: the loop pays for a copy, a thread does the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from biodist.checkpoint.fragments import Fragment
from biodist.checkpoint.manifest import Manifest


class Snapshot:
    """Memory of the host that holds one rank's fragments; made at the first save and used again by each later one."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], dict[str, Tensor]] = {}

    def take(self, fragments: Iterable[Fragment]) -> list[Fragment]:
        """Copies of the fragments, as they are now. Those of the last call are overwritten."""
        taken = []
        for fragment in fragments:
            parts = self._held.setdefault((fragment.name, fragment.start), {})
            for part, tensor in fragment.parts().items():
                if part not in parts:
                    pinned = tensor.device.type == "cuda"
                    parts[part] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
                parts[part].copy_(tensor.detach(), non_blocking=True)
            taken.append(Fragment(fragment.name, fragment.shape, fragment.start, **parts))
        if any(tensor.is_pinned() for parts in self._held.values() for tensor in parts.values()):
            torch.cuda.synchronize()
        return taken


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
