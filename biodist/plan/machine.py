"""What this machine has: usable cores, memory, GPUs. Found without torch."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
from pydantic import Field

from biodist.config.recipe import Section

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED = 2**60  # cgroup v1 writes "no limit" as a number near 2^63
GPU_QUERY = ("nvidia-smi", "--query-gpu=index,uuid,name,memory.total,compute_cap", "--format=csv,noheader,nounits")
GPU_QUERY_SECONDS = 30


class Gpu(Section):
    """One GPU that this process may use."""

    index: int  # as nvidia-smi numbers it
    uuid: str
    name: str
    memory: int  # bytes
    compute_capability: float  # 8.0 and more: bf16 in hardware


class Machine(Section):
    """One machine as a plan sees it. Totals, never what is free now: the same machine must give the same plan."""

    host: str
    processor: str
    cores: int = Field(ge=1)  # usable: the affinity mask and the control group's quota both count
    memory: int = Field(ge=1)  # bytes; the control group's limit where there is one
    gpus: tuple[Gpu, ...] = ()

    @classmethod
    def here(cls) -> Machine:
        """This machine, `CUDA_VISIBLE_DEVICES` and control groups honoured. No GPU where nvidia-smi finds none."""
        groups = tuple(_control_groups(CGROUPS, MEMBERSHIP))
        return cls(
            host=socket.gethostname(),
            processor=processor_name(),
            cores=min([len(os.sched_getaffinity(0)), *cores_allowed(groups)]),
            memory=min([psutil.virtual_memory().total, *memory_allowed(groups)]),
            gpus=visible(_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")),
        )


def cores_allowed(groups: tuple[Path, ...]) -> list[int]:
    """Whole cores that each control group's quota allows, at least 1; groups without a quota say nothing."""
    allowed = []
    for group in groups:
        quota, period = "", ""
        if (text := _read(group / "cpu.max")) is not None:  # version 2: "200000 100000" or "max 100000"
            quota, _, period = text.partition(" ")
        elif (text := _read(group / "cpu.cfs_quota_us")) is not None:  # version 1: -1 is no quota
            quota, period = text, _read(group / "cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(period):
            allowed.append(max(1, int(quota) // int(period)))
    return allowed


def memory_allowed(groups: tuple[Path, ...]) -> list[int]:
    """Bytes that each control group allows; groups without a limit say nothing."""
    texts = [_read(group / name) for group in groups for name in ("memory.max", "memory.limit_in_bytes")]
    return [int(text) for text in texts if text and text.isdigit() and 0 < int(text) < UNLIMITED]


def gpus_listed(listing: str) -> tuple[Gpu, ...]:
    """The GPUs of nvidia-smi's answer (`GPU_QUERY`, one a line); lines in another shape are none."""
    found = []
    for line in listing.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 5 or not cells[0].isdigit() or not cells[3].isdigit():
            continue
        capability = float(cells[4]) if cells[4].replace(".", "", 1).isdigit() else 0.0
        index, mebibytes = int(cells[0]), int(cells[3])
        found.append(
            Gpu(index=index, uuid=cells[1], name=cells[2], memory=mebibytes * 2**20, compute_capability=capability)
        )
    return tuple(found)


def visible(gpus: tuple[Gpu, ...], chosen: str | None) -> tuple[Gpu, ...]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` leaves, in its order; as CUDA reads it, the first unknown one ends it."""
    if chosen is None:
        return gpus
    seen: list[Gpu] = []
    for item in (text.strip() for text in chosen.split(",")):
        named = [
            gpu for gpu in gpus if item == str(gpu.index) or (item.startswith("GPU-") and gpu.uuid.startswith(item))
        ]
        if len(named) != 1 or named[0] in seen:
            break
        seen += named
    return tuple(seen)


def _gpus() -> tuple[Gpu, ...]:
    try:
        answer = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=GPU_QUERY_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return gpus_listed(answer.stdout)


def _control_groups(root: Path, membership: Path) -> Iterator[Path]:
    """The folders of this process's control groups, each with those above it: a limit anywhere on the way counts."""
    for line in (_read(membership) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        mounts = [root / name for name in controllers.split(",")] if controllers else [root, root / "unified"]
        for mount in mounts:
            inside = Path(path.lstrip("/"))
            yield from (mount / folder for folder in (inside, *inside.parents) if (mount / folder).is_dir())


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def processor_name() -> str:
    """What the processor calls itself."""
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
