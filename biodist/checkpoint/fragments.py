"""The training state as fragments: flat pieces of named parameters with their two Adam moments.

A fragment knows nothing of the strategy that made it, so that a checkpoint written under one strategy and world size
loads under any other. Where the pieces lie is private to DeepSpeed (``_hp_mapping``, ``grad_position``); every use of
its private attributes is in this module, and a test loads every strategy's checkpoint under every other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

PARTS = ("weight", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Fragment:
    """Elements ``start`` to ``start + count`` of one flattened parameter: live views, each a flat fp32 tensor."""

    name: str
    shape: tuple[int, ...]  # of the whole parameter
    start: int
    weight: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor

    @property
    def count(self) -> int:
        return self.weight.numel()

    def parts(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}


class TrainingState(Protocol):
    """One rank's part of weights and moments, under one strategy."""

    def owned(self) -> Iterator[Fragment]:
        """What this rank writes: over all ranks every element once."""

    def held(self) -> Iterator[Fragment]:
        """What this rank must be given on load."""

    def loaded(self, step: int) -> None:
        """After ``held()`` was filled: sets Adam's step and brings every copy of the weights up to date."""


def training_state(
    strategy: str, parameters: Mapping[str, Tensor], optimizer: Any, rank: int, world_size: int
) -> TrainingState:
    """The state behind ``optimizer``: torch's AdamW under ddp, else DeepSpeed's optimizer around it."""
    if strategy == "ddp":
        return ReplicatedState(parameters, optimizer, rank, world_size)
    if strategy in ("zero1", "zero2"):
        return PartitionedOptimizerState(parameters, optimizer)
    return PartitionedParameterState(parameters, optimizer, rank)


def _moments(adam: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Adam's state of one tensor; made as Adam itself would make it when no step was taken yet."""
    state: dict[str, Tensor] = adam.state[parameter]
    if "exp_avg" not in state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return state


class ReplicatedState:
    """ddp: every rank holds everything; each writes an equal cut of the flat index, names in order."""

    def __init__(self, parameters: Mapping[str, Tensor], adam: torch.optim.Optimizer, rank: int, world_size: int):
        self._parameters = dict(sorted(parameters.items()))
        self._adam = adam
        total = sum(p.numel() for p in self._parameters.values())
        self._first = total * rank // world_size
        self._last = total * (rank + 1) // world_size

    def owned(self) -> Iterator[Fragment]:
        offset = 0
        for fragment in self.held():
            low, high = max(self._first - offset, 0), min(self._last - offset, fragment.count)
            offset += fragment.count
            if low < high:
                cut = slice(low, high)
                yield Fragment(
                    fragment.name,
                    fragment.shape,
                    low,
                    fragment.weight[cut],
                    fragment.exp_avg[cut],
                    fragment.exp_avg_sq[cut],
                )

    def held(self) -> Iterator[Fragment]:
        for name, parameter in self._parameters.items():
            moments = _moments(self._adam, parameter)
            yield Fragment(
                name,
                tuple(parameter.shape),
                0,
                parameter.data.view(-1),
                moments["exp_avg"].view(-1),
                moments["exp_avg_sq"].view(-1),
            )

    def loaded(self, step: int) -> None:
        for parameter in self._parameters.values():
            _moments(self._adam, parameter)["step"].fill_(step)


class PartitionedOptimizerState:
    """zero1 and zero2: each rank owns one flat fp32 slice of each parameter group."""

    def __init__(self, parameters: Mapping[str, Tensor], zero: Any):
        self._parameters = dict(sorted(parameters.items()))
        self._zero = zero

    def owned(self) -> Iterator[Fragment]:
        for name, parameter in self._parameters.items():
            mapping = parameter._hp_mapping  # type: ignore[attr-defined]
            if mapping is None:
                continue
            flat = self._zero.single_partition_of_fp32_groups[mapping.param_group_index]
            moments = _moments(self._zero.optimizer, flat)
            at = mapping.get_hp_fragment_address()
            place = slice(at.start, at.start + at.numel)
            yield Fragment(
                name,
                tuple(parameter.shape),
                mapping.lp_fragment_address.start,
                flat.data[place],
                moments["exp_avg"][place],
                moments["exp_avg_sq"][place],
            )

    held = owned

    def loaded(self, step: int) -> None:
        for flat in self._zero.single_partition_of_fp32_groups:
            _moments(self._zero.optimizer, flat)["step"].fill_(step)
        self._zero.update_lp_params()


class PartitionedParameterState:
    """zero3: each parameter is cut evenly over the ranks; the last slice may end in padding."""

    def __init__(self, parameters: Mapping[str, Tensor], zero: Any, rank: int):
        self._parameters = dict(sorted(parameters.items()))
        self._zero = zero
        self._rank = rank

    def owned(self) -> Iterator[Fragment]:
        for name, parameter in self._parameters.items():
            group, offset, _ = self._zero.grad_position[self._zero.get_param_id(parameter)]
            flat = self._zero.fp32_partitioned_groups_flat[group]
            slice_length = parameter.ds_tensor.ds_numel  # type: ignore[attr-defined]
            start = self._rank * slice_length
            count = min(slice_length, parameter.ds_numel - start)  # type: ignore[attr-defined]
            if count <= 0:
                continue
            moments = _moments(self._zero.optimizer, flat)
            place = slice(offset, offset + count)
            yield Fragment(
                name,
                tuple(parameter.ds_shape),  # type: ignore[attr-defined]
                start,
                flat.data[place],
                moments["exp_avg"][place],
                moments["exp_avg_sq"][place],
            )

    held = owned

    def loaded(self, step: int) -> None:
        self._zero.checkpoint_event_prologue()
        pairs = zip(self._zero.fp16_partitioned_groups_flat, self._zero.fp32_partitioned_groups_flat, strict=True)
        for working, flat in pairs:
            _moments(self._zero.optimizer, flat)["step"].fill_(step)
            working.data.copy_(flat.data)
        self._zero.checkpoint_event_epilogue()
