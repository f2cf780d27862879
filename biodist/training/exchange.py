"""Sums and gathers of large tensors on the CPU, the same bits however the ranks are spread over machines.

On one machine they go through memory that the ranks share: gloo sends them through the loopback interface, a copy into
the kernel and one out of it on either side. A rank copies a chunk into its slot, all wait for each other, and each
reads what it needs. They wait over gloo, so a rank that went away is noticed as before, and so is one that hangs.
Between machines, and where ranks cannot see each other's processes, gloo carries the same chunks.

Sums are made in the order of the ranks, or begin with the own one where one rank alone has them.
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from biodist.errors import RunFailed
from biodist.plan.buckets import SLOT
from biodist.training.group import Control

LEAST = 2**14  # elements; fewer are sent as fast as they are shared
TOKEN_BYTES = 32
NAME = "biodist"


class Wire:
    """Chunks over gloo.

    Every rank calls the same method with the same sizes in the same order, as with any collective.
    """

    def __init__(self, control: Control):
        self._control = control
        self._sent, self._received = torch.empty(SLOT), torch.empty(control.world_size, SLOT)

    def room(self, count: int) -> Tensor | None:
        """So many fp32 elements that every rank reads and writes at one place; None where ranks share no memory."""
        return None

    def meet(self) -> None:
        """Returns when every rank has come."""
        self._control.barrier()

    def takes(self, *tensors: Tensor) -> bool:
        """Whether these are of the kind it is for."""
        return all(map(_is_plain, tensors)) and any(tensor.numel() >= LEAST for tensor in tensors)

    def sum(self, tensor: Tensor) -> None:
        """Every rank's ``tensor`` becomes the sum of all, in the order of the ranks."""
        self._agree(tensor.numel())
        for chunk in torch.split(tensor.view(-1), SLOT):
            first, second, *others = self._to_all(chunk)
            torch.add(first, second, out=chunk)
            for other in others:
                chunk.add_(other)

    def sum_each(self, pieces: Sequence[tuple[int, Tensor]]) -> None:
        """Of each (rank, tensor) that rank's ``tensor`` becomes the sum of all; the others' stays as it is.

        The ranks add at the same time, each its own pieces: fastest where every rank has as many.
        """
        self._agree(*(sum(piece.numel() for to, piece in pieces if to == rank) for rank in self._everybody))
        room = SLOT // len(self._everybody)  # of what one rank shows to another
        rounds = [_rounds([piece for to, piece in pieces if to == rank], room) for rank in self._everybody]
        for shown in zip_longest(*rounds, fillvalue=()):
            for rank, place in enumerate(self._to_each(shown, room)):
                if rank != self._control.rank:
                    for chunk, other in _side_by_side(shown[self._control.rank], place):
                        chunk.add_(other)

    def gather(self, output: Tensor, part: Tensor) -> None:
        """``output`` becomes every rank's ``part``, end to end; the own one may lie in its place already."""
        self._agree(output.numel(), part.numel())
        parts, own = output.view(self._control.world_size, -1), self._control.rank
        if parts[own].data_ptr() != part.data_ptr():
            parts[own].copy_(part.view(-1))
        for begin in range(0, part.numel(), SLOT):
            here = parts[:, begin : begin + SLOT]
            for rank, shown in enumerate(self._to_all(here[own])):
                if rank != own:
                    here[rank].copy_(shown)

    @property
    def _everybody(self) -> range:
        return range(self._control.world_size)

    def _agree(self, *sizes: int) -> None:
        """Ranks that come with other sizes would read what was never meant for them: gloo would refuse them as well.

        Raises:
            RunFailed: naming the sizes of each rank.
        """
        row = torch.zeros(1 + self._control.world_size, dtype=torch.int64)
        row[0] = len(sizes)
        row[1 : 1 + len(sizes)] = torch.tensor(sizes)
        rows = self._control.gather_rows(row)
        if (rows != row).any():
            said = "; ".join(f"rank {rank}: {one[1 : 1 + one[0]]}" for rank, one in enumerate(rows.tolist()))
            raise RunFailed(f"the ranks came to share tensors of different sizes: {said}")

    def _to_all(self, chunk: Tensor) -> list[Tensor]:
        """The chunk that each rank shows to all."""
        places = [place[: chunk.numel()] for place in self._received]
        dist.all_gather(places, chunk.contiguous(), group=self._control.group)
        return places

    def _to_each(self, shown: Sequence[Sequence[Tensor]], room: int) -> list[Tensor]:
        """What each rank shows to this one; ``shown`` are the chunks for each rank."""
        sent = self._sent[: room * len(self._everybody)].view(-1, room)
        self._put(shown, list(sent))
        received = self._received.view(-1)[: sent.numel()].view_as(sent)
        dist.all_to_all_single(received, sent, group=self._control.group)
        return list(received)

    def _put(self, shown: Sequence[Sequence[Tensor]], places: Sequence[Tensor]) -> None:
        """The chunks for each other rank in its place."""
        for rank, (chunks, place) in enumerate(zip(shown, places, strict=True)):
            if rank != self._control.rank:
                for chunk, part in _side_by_side(chunks, place):
                    part.copy_(chunk)


class NodeMemory(Wire):
    """Two slots a rank, in shared memory: while others still read a chunk in one, the next is written to the other."""

    def __init__(self, slots: Tensor, control: Control):
        self._slots = slots.view(2, control.world_size, SLOT)
        self._control = control
        self._turn = 0

    def room(self, count: int) -> Tensor | None:
        return _shared(self._control, count)

    def _to_all(self, chunk: Tensor) -> list[Tensor]:
        slots = self._turned()[:, : chunk.numel()]
        slots[self._control.rank].copy_(chunk)
        self._control.barrier()
        return list(slots)

    def _to_each(self, shown: Sequence[Sequence[Tensor]], room: int) -> list[Tensor]:
        places = [row[: room * len(self._everybody)].view(-1, room) for row in self._turned()]  # by whom, for whom
        self._put(shown, list(places[self._control.rank]))
        self._control.barrier()
        return [place[self._control.rank] for place in places]

    def _turned(self) -> Tensor:
        """The slots to write to now, (ranks, SLOT). What was read from them the time before last is no longer needed:
        all have come to the barrier between, after they had read it."""
        self._turn = 1 - self._turn
        return self._slots[self._turn]


def open_exchange(control: Control, one_machine: bool) -> Wire:
    """Of all ranks together: shared memory where all are on one machine and see each other's processes, else gloo.

    The memory has no name in any file system, so a rank that is killed leaves nothing behind: the others open it among
    the files of rank 0's process.
    """
    # A rank that stands still is the watchdog's to find, which shows the stacks: gloo must not forestall it.
    own = control.twin(patience=3)
    slots = _shared(control, 2 * control.world_size * SLOT) if one_machine else None
    return Wire(own) if slots is None else NodeMemory(slots, own)


def _shared(control: Control, count: int) -> Tensor | None:
    """The same fp32 elements on every rank; None on every rank where one cannot have them."""
    size = TOKEN_BYTES + count * torch.float32.itemsize
    token = secrets.token_bytes(TOKEN_BYTES)
    file, memory = _create(size, token) if control.rank == 0 else (None, None)
    where, token = control.share((f"/proc/{os.getpid()}/fd/{file}", token))
    if control.rank:
        memory = _find(where, size, token)
    try:
        apart = control.any(memory is None)  # rank 0 keeps it open until all have looked
    finally:
        if file is not None:
            os.close(file)
    return None if apart or memory is None else torch.frombuffer(memory, dtype=torch.float32, count=count)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.is_contiguous()


def _rounds(pieces: Sequence[Tensor], room: int) -> list[list[Tensor]]:
    """The pieces, cut where a round has no more ``room``."""
    rounds: list[list[Tensor]] = []
    left = 0
    for piece in pieces:
        rest = piece.view(-1)
        while rest.numel():
            if not left:
                rounds.append([])
                left = room
            count = min(left, rest.numel())
            rounds[-1].append(rest[:count])
            rest, left = rest[count:], left - count
    return rounds


def _side_by_side(chunks: Sequence[Tensor], place: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each chunk with its stretch of ``place``."""
    begin = 0
    for chunk in chunks:
        yield chunk, place[begin : begin + chunk.numel()]
        begin += chunk.numel()


def _create(size: int, token: bytes) -> tuple[int | None, mmap.mmap | None]:
    """Memory of our own, and its file; None where there is no room for it. Taken at once: later, a page that is not
    there would end the process."""
    file = None
    with suppress(OSError, ValueError):
        file = os.memfd_create(NAME, os.MFD_CLOEXEC)
        os.posix_fallocate(file, 0, size)
        os.pwrite(file, token, size - TOKEN_BYTES)
        return file, mmap.mmap(file, size)
    return file, None


def _find(where: str, size: int, token: bytes) -> mmap.mmap | None:
    """Rank 0's memory; None where its processes cannot be seen from here, or another is at that place."""
    with suppress(OSError, ValueError):
        if not str(Path(where).readlink()).startswith(f"/memfd:{NAME}"):
            return None  # of another process with this number: not ours to open
        file = os.open(where, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            if os.fstat(file).st_size == size and os.pread(file, TOKEN_BYTES, size - TOKEN_BYTES) == token:
                return mmap.mmap(file, size)
        finally:
            os.close(file)
    return None
