"""What Slurm says of a partition: its limits, its nodes, and what it does with a job that it preempts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launch.slurm.job_state import seconds

SINFO_FORMAT = "%R|%D|%c|%m|%T|%f|%G"
"""For ``sinfo --format``: partition, nodes, CPUs, MB, state, features, GRES."""

_PAIR = re.compile(r"(?:^|\s)([A-Za-z][\w:/]*)=(\S*)")
_GPUS = re.compile(r"gpu(?::([^:(,]+))?:(\d+)")


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition that are alike and in the same state. MB are 2^20 bytes, as Slurm counts."""

    count: int
    cpus: int
    memory_mb: int
    state: str  # Slurm's word: idle, mixed, allocated, drained, down*, …
    features: tuple[str, ...]
    gres: str  # as Slurm writes it: gpu:a100:8(S:0-1)

    @property
    def gpus(self) -> int:
        """GPUs of one node, of all types."""
        return sum(int(count) for _, count in _GPUS.findall(self.gres))

    @property
    def gpu_types(self) -> tuple[str, ...]:
        return tuple(sorted({kind for kind, _ in _GPUS.findall(self.gres) if kind}))


@dataclass(frozen=True)
class Partition:
    """One partition. ``None`` for a limit: there is none."""

    name: str
    state: str  # UP, DOWN, DRAIN, INACTIVE
    is_default: bool
    nodes: str  # as Slurm writes them: n[1-4]
    node_count: int
    max_time_min: int | None
    max_nodes: int | None  # of one job
    grace_s: int  # between the first signal and the kill of a job that is preempted
    preempt_mode: str  # Slurm's word: OFF, REQUEUE, CANCEL, SUSPEND, GANG,SUSPEND
    kinds: tuple[NodeKind, ...] = ()

    @property
    def gpus_per_node(self) -> int:
        """The most that one of its nodes has."""
        return max((kind.gpus for kind in self.kinds), default=0)

    @property
    def gpu_types(self) -> tuple[str, ...]:
        return tuple(sorted({name for kind in self.kinds for name in kind.gpu_types}))

    @property
    def cpus_per_node(self) -> int:
        return max((kind.cpus for kind in self.kinds), default=0)

    @property
    def memory_mb_per_node(self) -> int:
        return max((kind.memory_mb for kind in self.kinds), default=0)


def read_partitions(partitions: str, nodes: str) -> list[Partition]:
    """From ``scontrol --oneliner show partition`` and ``sinfo --noheader`` with `SINFO_FORMAT`."""
    kinds: dict[str, list[NodeKind]] = {}
    for line in nodes.splitlines():
        name, count, cpus, memory, state, features, gres = line.split("|", 6)
        kind = NodeKind(_number(count), _number(cpus), _number(memory), state, _listed(features), _known(gres))
        kinds.setdefault(name, []).append(kind)
    found = (dict(_PAIR.findall(line)) for line in partitions.splitlines())
    return [_partition(values, tuple(kinds.get(values["PartitionName"], ()))) for values in found if values]


def _partition(values: dict[str, str], kinds: tuple[NodeKind, ...]) -> Partition:
    max_time_s = seconds(values.get("MaxTime", ""))
    max_nodes = values.get("MaxNodes", "")
    return Partition(
        name=values["PartitionName"],
        state=values.get("State", "UNKNOWN"),
        is_default=values.get("Default") == "YES",
        nodes=_known(values.get("Nodes", "")),
        node_count=_number(values.get("TotalNodes", "")),
        max_time_min=None if max_time_s is None else max_time_s // 60,
        max_nodes=int(max_nodes) if max_nodes.isdigit() else None,
        grace_s=_number(values.get("GraceTime", "")),
        preempt_mode=values.get("PreemptMode", "OFF"),
        kinds=kinds,
    )


def _number(text: str) -> int:
    """Of a column; sinfo puts a plus behind the least of several, squeue-like suffixes are not used here."""
    digits = re.match(r"\d+", text.strip())
    return int(digits[0]) if digits else 0


def _listed(text: str) -> tuple[str, ...]:
    known = _known(text)
    return tuple(known.split(",")) if known else ()


def _known(text: str) -> str:
    return "" if text.strip() in ("(null)", "N/A") else text.strip()
