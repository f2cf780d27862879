"""Trials as processes of this machine: `biodist train`, each on cores or GPUs of its own.

A trial's process waits at a gate until its number is in the ledger. A driver that is killed at any instant leaves
either a process that the ledger names, or one that ends by itself without having begun.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from biodist.errors import MachineCannot
from biodist.plan.machine import Machine
from biodist.run.folder import RunFolder
from biodist.run.process import process_space, process_stat
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.backend import Launch, Note, Refused
from biodist.sweeps.ledger import Started
from launch.standing import living_holder

_GATE = 'read -r go && exec "$@" < /dev/null'
_KILLED_AFTER_S = 120.0  # after it was asked to save and stop
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True)
class Slot:
    """A part of the machine that one trial has for itself."""

    cores: tuple[int, ...]
    gpus: tuple[str, ...] = ()


def slots_of(machine: Machine, nproc: int, device: str, concurrency: int) -> list[Slot]:
    """The machine cut into as many equal parts as there are trials at a time, or as it has room for.

    Raises MachineCannot when it has not room for one.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(machine.cores))
    cores = cores[: machine.cores]
    on_gpus = bool(machine.gpus) and device != "cpu"
    room = len(machine.gpus) // nproc if on_gpus else max(1, len(cores) // nproc)
    if room == 0:
        raise MachineCannot(f"a trial takes {nproc} GPUs, but this machine has {len(machine.gpus)}: use --nproc 1")
    count = min(concurrency, room)
    each = max(1, len(cores) // count)
    return [
        Slot(
            tuple(cores[place * each : (place + 1) * each]) or tuple(cores),  # more GPUs than cores
            tuple(gpu.uuid for gpu in machine.gpus[place * nproc : (place + 1) * nproc]) if on_gpus else (),
        )
        for place in range(count)
    ]


@dataclass
class LocalBackend:
    """Starts, finds again and ends the processes of trials."""

    folder: SweepFolder
    parts: Sequence[Slot]
    options: tuple[str, ...]  # of `biodist train`: --nproc, --device
    look_every_s: float = _LOOK_EVERY_S
    ends_with_driver: bool = True
    _taken: dict[str, Slot | None] = field(default_factory=dict)
    _started: dict[str, Started] = field(default_factory=dict)
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        return len(self.parts)

    @property
    def gpus(self) -> float:
        return float(len(self.parts[0].gpus))

    def adopt(self, started: Mapping[str, Started | None]) -> set[str]:
        for key, start in started.items():
            if start is not None:
                self._started[key] = start
        living = self.living(list(started))
        for key in living:
            self._taken[key] = self._slot_of(self._started.get(key))
        return living

    def start(self, launches: Sequence[Launch], note: Note) -> list[Refused]:
        for launch in launches:
            slot = next(part for part in self.parts if part not in self._taken.values())
            try:
                process = self._at_the_gate(launch, slot)
            except OSError as error:  # no fault of the trial: the next one would not start either
                raise MachineCannot(f"trial {launch.key}: its process cannot be started: {error.strerror}") from None
            self._let_in(launch.key, process, note)
            self._taken[launch.key] = slot
        return []

    def living(self, keys: Sequence[str]) -> set[str]:
        living = {key for key in keys if self._lives(key)}
        for key in set(keys) - living:
            self._taken.pop(key, None)
            self._asked.pop(key, None)
        for key in [key for key in living if time.monotonic() > self._asked.get(key, float("inf"))]:
            self._signal(key, signal.SIGKILL)
        return living

    def stop(self, key: str) -> None:
        if key not in self._asked:
            self._asked[key] = time.monotonic() + _KILLED_AFTER_S
            self._signal(key, signal.SIGTERM)

    def kill(self, keys: Sequence[str]) -> None:
        """Ends trials at once, saving nothing; their ranks end with them."""
        for key in keys:
            self._signal(key, signal.SIGKILL)

    def close(self) -> None:
        pass

    def _at_the_gate(self, launch: Launch, slot: Slot) -> subprocess.Popen[bytes]:
        """The trial's process, which waits for a word before it begins."""
        words = [sys.executable, "-P", "-m", "biodist.cli", "train", str(self.folder.recipe), *launch.overrides]
        words += [*self.options, "--run", str(launch.run.root)]
        environment = dict(os.environ)
        if slot.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus)
        with self.folder.log(launch.key).open("ab") as log, _pinned(slot.cores):
            return subprocess.Popen(
                ["sh", "-c", _GATE, "sh", *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def _let_in(self, key: str, process: subprocess.Popen[bytes], note: Note) -> None:
        """Notes the process, then gives it the word. Without the word it ends when the pipe closes."""
        stat = process_stat(process.pid)
        ticks = stat.start_ticks if stat else None
        started = Started(key=key, pid=process.pid, start_ticks=ticks, process_space=process_space())
        assert process.stdin is not None
        with process.stdin as gate:
            note(started)
            with suppress(BrokenPipeError):
                gate.write(b"go\n")
                gate.flush()
        self._started[key], self._children[key] = started, process

    def _lives(self, key: str) -> bool:
        child = self._children.get(key)
        if child is not None and child.poll() is not None:
            del self._children[key]
        if self._pid(key) is not None:
            return True
        # Not the process that the ledger knows, or on another host: whoever holds the run's lease is at work on it.
        return living_holder(self._run(key)) is not None

    def _pid(self, key: str) -> int | None:
        """Of the trial's process, while it lives; a number that was used again is another process."""
        started = self._started.get(key)
        if started is None or started.pid is None or started.process_space != process_space():
            return None
        stat = process_stat(started.pid)
        return started.pid if stat and stat.alive and stat.start_ticks == started.start_ticks else None

    def _signal(self, key: str, number: signal.Signals) -> None:
        pid = self._pid(key)
        if pid is None:
            holder = living_holder(self._run(key))
            pid = holder.pid if holder and holder.process_space == process_space() else None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _run(self, key: str) -> RunFolder:
        return self.folder.trial(key)

    def _slot_of(self, started: Started | None) -> Slot | None:
        """The part of the machine that a process found again is pinned to."""
        free = [part for part in self.parts if part not in self._taken.values()]
        if started is None or started.pid is None or not hasattr(os, "sched_getaffinity"):
            return free[0] if free else None
        with suppress(OSError):
            cores = os.sched_getaffinity(started.pid)
            for part in free:
                if cores & set(part.cores):
                    return part
        return free[0] if free else None


@contextmanager
def _pinned(cores: Sequence[int]) -> Iterator[None]:
    """A process that is started meanwhile keeps to these cores."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
