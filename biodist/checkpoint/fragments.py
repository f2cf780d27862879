"""The training state as fragments: flat pieces of named parameters with their two Adam moments.

A fragment knows nothing of the strategy that made it, so that a checkpoint written under one strategy and world size
loads under any other. A frozen parameter's fragments have no moments. Where the pieces lie is private to DeepSpeed
(``_hp_mapping``, ``grad_position``, ``ds_tensor``); every use of its private attributes is in this module and in
`biodist.checkpoint.adam`, and a test loads every strategy's checkpoint under every other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from biodist.checkpoint.adam import moments, set_steps
from biodist.checkpoint.manifest import ScalerState
from biodist.errors import RunFailed

PARTS = ("weight", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Outline:
    """What the model says of one parameter, the same on every rank."""

    shape: tuple[int, ...]
    frozen: bool = False  # never trained: it has no moments


@dataclass(frozen=True)
class Fragment:
    """Elements ``start`` to ``start + count`` of one flattened parameter: live views, each a flat fp32 tensor."""

    name: str
    shape: tuple[int, ...]  # of the whole parameter
    start: int
    weight: Tensor
    exp_avg: Tensor | None = None  # a frozen parameter has no moments
    exp_avg_sq: Tensor | None = None

    @property
    def count(self) -> int:
        return self.weight.numel()

    @property
    def frozen(self) -> bool:
        return self.exp_avg is None

    def parts(self) -> dict[str, Tensor]:
        there = {"weight": self.weight, "exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}
        return {part: tensor for part, tensor in there.items() if tensor is not None}

    def cut(self, low: int, high: int) -> Fragment:
        """Elements ``low`` to ``high`` of this fragment."""
        parts = {part: tensor[low:high] for part, tensor in self.parts().items()}
        return Fragment(self.name, self.shape, self.start + low, **parts)


@dataclass(frozen=True)
class Share:
    """What one rank gives to a checkpoint, and what the ranks must give together."""

    outlines: Mapping[str, Outline]  # of every parameter of the model
    fragments: Iterable[Fragment]
    buffers: Mapping[str, Tensor] = field(default_factory=dict)  # persistent ones: every rank has them whole
    scaler: ScalerState | None = None


class LossScale(Protocol):
    """Whoever scales the loss under fp16: its state can be read and set."""

    state: ScalerState


class Cut(Protocol):
    """One rank's part of some of the parameters, under one strategy."""

    def owned(self) -> Iterator[Fragment]:
        """What this rank writes: over all ranks every element once."""

    def held(self) -> Iterator[Fragment]:
        """What this rank must be given on load."""

    def loaded(self, step: int) -> None:
        """After ``held()`` was filled: sets the steps Adam counted, brings every copy of the weights up to date."""


@dataclass(frozen=True)
class TrainingState:
    """One rank's part of everything that a checkpoint holds, under one strategy."""

    outlines: Mapping[str, Outline]
    trained: Cut
    frozen: Cut
    buffers: Callable[[], Mapping[str, Tensor]]
    loss_scale: LossScale | None

    def owned(self) -> Iterator[Fragment]:
        """What this rank writes: over all ranks every element once."""
        yield from self.trained.owned()
        yield from self.frozen.owned()

    def held(self) -> Iterator[Fragment]:
        """What this rank must be given on load."""
        yield from self.trained.held()
        yield from self.frozen.held()

    def share(self) -> Share:
        """What this rank gives to a checkpoint: live views."""
        scaler = self.loss_scale.state if self.loss_scale else None
        return Share(self.outlines, self.owned(), self.buffers(), scaler)

    def loaded(self, step: int) -> None:
        """After ``held()`` was filled: sets the steps Adam counted, brings every copy of the weights up to date."""
        self.frozen.loaded(step)
        self.trained.loaded(step)


def training_state(
    strategy: str,
    parameters: Mapping[str, Tensor],
    optimizer: Any,
    rank: int,
    world_size: int,
    buffers: Callable[[], Mapping[str, Tensor]] = dict,
    loss_scale: LossScale | None = None,
) -> TrainingState:
    """The state of a model and of ``optimizer``: torch's AdamW under ddp, else DeepSpeed's optimizer around Adam.

    Raises:
        RunFailed: a parameter is not fp32: weights are kept in no other precision.
    """
    ordered = dict(sorted(parameters.items()))
    if other := [
        f"{name} ({parameter.dtype})" for name, parameter in ordered.items() if parameter.dtype != torch.float
    ]:
        raise RunFailed(f"parameters must be fp32, but are not: {', '.join(other)}. Load the model in fp32")
    trained = {name: parameter for name, parameter in ordered.items() if parameter.requires_grad}
    frozen = {name: parameter for name, parameter in ordered.items() if not parameter.requires_grad}
    return TrainingState(
        outlines={name: Outline(_shape(p), not p.requires_grad) for name, p in ordered.items()},
        trained=_trained(strategy, trained, optimizer, rank, world_size),
        frozen=FrozenSlices(frozen, optimizer, rank) if strategy == "zero3" else FrozenCopies(frozen, rank, world_size),
        buffers=buffers,
        loss_scale=loss_scale,
    )


def _trained(strategy: str, parameters: Mapping[str, Tensor], optimizer: Any, rank: int, world_size: int) -> Cut:
    if strategy == "ddp":
        return ReplicatedState(parameters, optimizer, rank, world_size)
    if strategy == "zero3":
        return PartitionedParameterState(parameters, optimizer, rank)
    return PartitionedOptimizerState(parameters, optimizer)


def _shape(parameter: Tensor) -> tuple[int, ...]:
    """Of the whole parameter: zero3 leaves an empty tensor where it was."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def _equal_cut(
    whole: Iterable[Fragment], parameters: Mapping[str, Tensor], rank: int, world_size: int
) -> Iterator[Fragment]:
    """A rank's part of fragments that every rank has whole: equal parts of the parameters' elements, in order."""
    total = sum(parameter.numel() for parameter in parameters.values())
    first, last = total * rank // world_size, total * (rank + 1) // world_size
    offset = 0
    for fragment in whole:
        low, high = max(first - offset, 0), min(last - offset, fragment.count)
        offset += fragment.count
        if low < high:
            yield fragment.cut(low, high)


class ReplicatedState:
    """ddp: every rank holds everything; each writes an equal cut of the flat index, names in order."""

    def __init__(self, parameters: Mapping[str, Tensor], adam: torch.optim.Optimizer, rank: int, world_size: int):
        self._parameters = dict(sorted(parameters.items()))
        self._adam = adam
        self._rank, self._world_size = rank, world_size

    def owned(self) -> Iterator[Fragment]:
        return _equal_cut(self.held(), self._parameters, self._rank, self._world_size)

    def held(self) -> Iterator[Fragment]:
        for name, parameter in self._parameters.items():
            state = moments(self._adam, parameter)
            yield Fragment(
                name,
                tuple(parameter.shape),
                0,
                parameter.data.view(-1),
                state["exp_avg"].view(-1),
                state["exp_avg_sq"].view(-1),
            )

    def loaded(self, step: int) -> None:
        set_steps(self._adam, self._parameters.values(), step)


class FrozenCopies:
    """ddp, zero1, zero2: every rank holds each frozen parameter whole; each writes an equal cut."""

    def __init__(self, parameters: Mapping[str, Tensor], rank: int, world_size: int):
        self._parameters = parameters
        self._rank, self._world_size = rank, world_size

    def owned(self) -> Iterator[Fragment]:
        return _equal_cut(self.held(), self._parameters, self._rank, self._world_size)

    def held(self) -> Iterator[Fragment]:
        for name, parameter in self._parameters.items():
            yield Fragment(name, tuple(parameter.shape), 0, parameter.data.view(-1))

    def loaded(self, step: int) -> None:
        pass


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
            state = moments(self._zero.optimizer, flat)
            at = mapping.get_hp_fragment_address()
            place = slice(at.start, at.start + at.numel)
            yield Fragment(
                name,
                tuple(parameter.shape),
                mapping.lp_fragment_address.start,
                flat.data[place],
                state["exp_avg"][place],
                state["exp_avg_sq"][place],
            )

    held = owned

    def loaded(self, step: int) -> None:
        set_steps(self._zero.optimizer, self._zero.single_partition_of_fp32_groups, step)
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
            start, count = _slice_of(parameter, self._rank)
            if count <= 0:
                continue
            state = moments(self._zero.optimizer, flat)
            place = slice(offset, offset + count)
            yield Fragment(
                name,
                _shape(parameter),
                start,
                flat.data[place],
                state["exp_avg"][place],
                state["exp_avg_sq"][place],
            )

    held = owned

    def loaded(self, step: int) -> None:
        self._zero.checkpoint_event_prologue()
        set_steps(self._zero.optimizer, self._zero.fp32_partitioned_groups_flat, step)
        for group in range(len(self._zero.fp32_partitioned_groups_flat)):
            self._zero._reassign_or_swap_out_partitioned_parameters(group)
        self._zero.checkpoint_event_epilogue()


class FrozenSlices:
    """zero3: frozen parameters are cut as the trained ones are, but the optimizer knows nothing of them."""

    def __init__(self, parameters: Mapping[str, Tensor], zero: Any, rank: int):
        self._parameters = parameters
        self._zero = zero
        self._rank = rank

    def owned(self) -> Iterator[Fragment]:
        for name, parameter in self._parameters.items():
            start, count = _slice_of(parameter, self._rank)
            if count > 0:
                own = parameter.ds_tensor.data.view(-1)[:count]  # type: ignore[attr-defined]
                yield Fragment(name, _shape(parameter), start, own)

    held = owned

    def loaded(self, step: int) -> None:
        """Small parameters stay gathered beside their slices: those copies are made anew."""
        self._zero.checkpoint_event_prologue()
        self._zero.checkpoint_event_epilogue()


def _slice_of(parameter: Tensor, rank: int) -> tuple[int, int]:
    """Where a rank's slice of a parameter begins under zero3, and how many elements it has, padding left out."""
    length = parameter.ds_tensor.ds_numel  # type: ignore[attr-defined]
    start = rank * length
    return start, min(length, parameter.ds_numel - start)  # type: ignore[attr-defined]
