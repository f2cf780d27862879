"""One rank's own part of a step: what tells a slow rank from those that wait for it."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Pace:
    """Measured on one rank. A backward pass exchanges gradients and so waits for others; a forward pass does not
    (where zero3 gathers weights it does)."""

    seconds: float  # the whole step
    forward_seconds: float  # in its own forward passes
    waiting_seconds: float  # for the others, once its own update was done
    tokens: int  # in its own micro-batches, fillers included
    peak_memory_bytes: int  # so far: allocated on a GPU, resident on a CPU


class Stopwatch:
    """Times one step of one rank."""

    def __init__(self, device: torch.device):
        self._device = device
        self._forward_seconds = 0.0
        self._waiting_seconds = 0.0
        self._tokens = 0
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def forward(self, tokens: int) -> Iterator[None]:
        """Around one forward pass. On a GPU it is timed there: the call itself returns at once."""
        self._tokens += tokens
        if self._device.type == "cuda":
            span = (_event(), _event())
            span[0].record()
            yield
            span[1].record()
            self._spans.append(span)
            return
        began = time.perf_counter()
        yield
        self._forward_seconds += time.perf_counter() - began

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what ends only when the slowest rank is there. On a GPU its loss has been read before: all is done."""
        began = time.perf_counter()
        yield
        self._waiting_seconds += time.perf_counter() - began

    def pace(self, seconds: float) -> Pace:
        """The step took ``seconds`` in all."""
        on_gpu = sum(start.elapsed_time(end) for start, end in self._spans) / 1000
        return Pace(
            seconds=seconds,
            forward_seconds=self._forward_seconds + on_gpu,
            waiting_seconds=self._waiting_seconds,
            tokens=self._tokens,
            peak_memory_bytes=_peak_memory(self._device),
        )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
