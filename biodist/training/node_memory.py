"""Sums and gathers through memory that the ranks of one machine share, for tensors on the CPU.

gloo sends them through the loopback interface, a copy into the kernel and one out of it on either side: with the shape
of BERT-large that was a quarter of a step. Here a rank copies a chunk into its slot, all wait for each other, and each
reads what it needs. They wait over gloo, so a rank that went away is noticed as before, and so is one that hangs.

Sums are made in the order of the ranks, or begin with the own one where one rank alone has them: the same bits each
time.
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
from torch import Tensor

from biodist.errors import RunFailed
from biodist.plan.buckets import SLOT
from biodist.training.group import Control

LEAST = 2**14  # elements; fewer are sent as fast as they are shared
TOKEN_BYTES = 32
NAME = "biodist"


class NodeMemory:
    """Two slots a rank: while the others still read a chunk in one, the next is written to the other.

    Every rank calls the same method with the same sizes in the same order, as with any collective.
    """

    def __init__(self, memory: mmap.mmap, control: Control):
        whole = torch.frombuffer(memory, dtype=torch.float32, count=2 * control.world_size * SLOT)
        self._slots = whole.view(2, control.world_size, SLOT)
        self._control = control
        self._turn = 0

    @classmethod
    def open(cls, control: Control) -> NodeMemory | None:
        """Of all ranks together; None where they do not share a machine's processes and memory, on every rank alike.

        The memory has no name in any file system, so a rank that is killed leaves nothing behind: the others open it
        among the files of rank 0's process.
        """
        size = TOKEN_BYTES + 2 * control.world_size * SLOT * torch.float32.itemsize
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
        # A rank that stands still is the watchdog's to find, which shows the stacks: it must not be forestalled.
        return None if apart or memory is None else cls(memory, control.twin(patience=3))

    def takes(self, *tensors: Tensor) -> bool:
        """Whether these are of the kind it is for."""
        return all(map(_is_plain, tensors)) and any(tensor.numel() >= LEAST for tensor in tensors)

    def sum(self, tensor: Tensor) -> None:
        """Every rank's ``tensor`` becomes the sum of all, in the order of the ranks."""
        self._agree(tensor.numel())
        for chunk in torch.split(tensor.view(-1), SLOT):
            slots = self._turned()
            slots[self._control.rank, : chunk.numel()].copy_(chunk)
            self._control.barrier()
            torch.add(slots[0, : chunk.numel()], slots[1, : chunk.numel()], out=chunk)
            for other in slots[2:]:
                chunk.add_(other[: chunk.numel()])

    def sum_each(self, pieces: Sequence[tuple[int, Tensor]]) -> None:
        """Of each (rank, tensor) that rank's ``tensor`` becomes the sum of all; the others' stays as it is.

        The ranks add at the same time, each its own pieces: fastest where every rank has as many.
        """
        self._agree(*(sum(piece.numel() for to, piece in pieces if to == rank) for rank in self._everybody))
        own, everybody = self._control.rank, self._everybody
        room = SLOT // self._control.world_size  # of what one rank shows to another
        rounds = [_rounds([piece for to, piece in pieces if to == rank], room) for rank in everybody]
        for shown in zip_longest(*rounds, fillvalue=()):
            places = [row[: room * len(everybody)].view(-1, room) for row in self._turned()]  # by whom, for whom
            for rank, chunks in enumerate(shown):
                if rank != own:
                    for chunk, place in _side_by_side(chunks, places[own][rank]):
                        place.copy_(chunk)
            self._control.barrier()
            for rank in everybody:
                if rank != own:
                    for chunk, place in _side_by_side(shown[own], places[rank][own]):
                        chunk.add_(place)

    def scatter_sum(self, output: Tensor, parts: Tensor) -> None:
        """``parts`` are as many equal ones as there are ranks: each gets the sum of its own in ``output``."""
        cut = list(parts.view(self._control.world_size, -1))
        own = cut[self._control.rank]
        if output.data_ptr() != own.data_ptr():
            output.view(-1).copy_(own)
            cut[self._control.rank] = output.view(-1)
        self.sum_each(list(enumerate(cut)))

    def gather(self, output: Tensor, part: Tensor) -> None:
        """``output`` becomes every rank's ``part``, end to end; the own one may lie in its place already."""
        self._agree(output.numel(), part.numel())
        parts, own = output.view(self._control.world_size, -1), self._control.rank
        if parts[own].data_ptr() != part.data_ptr():
            parts[own].copy_(part.view(-1))
        for begin in range(0, part.numel(), SLOT):
            here = parts[:, begin : begin + SLOT]
            slots = self._turned()[:, : here.shape[1]]
            slots[own].copy_(here[own])
            self._control.barrier()
            for rank, slot in enumerate(slots):
                if rank != own:
                    here[rank].copy_(slot)

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

    def _turned(self) -> Tensor:
        """The slots to write to now, (ranks, SLOT). What was read from them the time before last is no longer needed:
        all have come to the barrier between, after they had read it."""
        self._turn = 1 - self._turn
        return self._slots[self._turn]


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
