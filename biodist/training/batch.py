"""Windows become the tensors of one forward pass: one unpadded row, or a padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biodist.tasks.protocol import IGNORED, SequenceTargets
from biodist.training.layout import RowLayout


class Tokenised(Protocol):
    """What is read of a window (`biodist.data.store.Window`)."""

    @property
    def input_ids(self) -> NDArray[np.int32]: ...

    @property
    def labels(self) -> NDArray[np.int16]: ...


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    Unpadded: tensors of (1, tokens), the sequences end to end in ascending order of length, ``layout`` says where.
    Padded: (windows, longest), in the order given, ``attention_mask`` 1 for tokens. ``windows`` and ``lengths``
    are in the order of the sequences in the tensors; ``windows`` travels with them into forward, where samples are
    accounted for.

    Where something is said of whole sequences, ``labels`` and ``weights`` have a row for each sequence in the tensors,
    one of padding (`round_to`) included.
    """

    input_ids: Tensor  # int64
    labels: Tensor  # int64, as the tokens, (sequences,) or (sequences, classes); IGNORED where nothing counts
    position_ids: Tensor  # int64, from position_offset in every sequence
    windows: Tensor  # int64, (windows,)
    lengths: tuple[int, ...]
    token_type_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    weights: Tensor | None = None  # float32, (sequences,): what each counts in the loss; None where tokens are labelled
    layout: RowLayout | None = None

    @property
    def tokens(self) -> int:
        """Tokens fed to the model, special ones included, padding not."""
        return sum(self.lengths)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device; copies do not wait for it."""
        device = torch.device(device)
        if device == self.input_ids.device:
            return self
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved, layout=None if self.layout is None else self.layout.to(device))


def collate(
    windows: Sequence[Tokenised],
    numbers: Sequence[int] | NDArray[np.int64],
    *,
    padding: Literal["none", "batch"],
    pad_id: int,
    position_offset: int = 0,
    token_types: Sequence[NDArray[np.int8]] | None = None,
    round_to: int = 1,
    targets: SequenceTargets | None = None,
) -> Batch:
    """Puts windows into one batch.

    Args:
        windows: the tokens and labels of each window, none of them empty.
        numbers: the number of each window in its split.
        padding: "none" for one unpadded row, "batch" for a batch padded to its longest window.
        pad_id: the token that fills a padded batch.
        position_offset: position of a sequence's first token (`unpadded.position_offset`).
        token_types: token types of each window, for pairs.
        round_to: an unpadded row is filled up to a multiple of it by one more sequence, of padding, that counts in no
            loss and is in neither ``windows`` nor ``lengths``.
        targets: what is to be said of the windows as wholes, in place of their tokens' labels.

    Raises:
        ValueError: when there is no window, one is empty, or windows and numbers differ in count.
    """
    if not windows or len(windows) != len(numbers):
        raise ValueError(f"a batch needs windows and as many numbers, but has {len(windows)} and {len(numbers)}")
    sizes = [len(window.input_ids) for window in windows]
    if padding == "none":
        return _row(windows, numbers, sizes, token_types, pad_id, position_offset, -sum(sizes) % round_to, targets)
    positions = [np.arange(position_offset, position_offset + length) for length in sizes]
    own = None if targets is None else torch.from_numpy(targets.labels)
    return Batch(
        input_ids=_padded([window.input_ids for window in windows], pad_id),
        labels=_padded([window.labels for window in windows], IGNORED) if own is None else own,
        # The position of padding is never looked at, but must lie inside the table.
        position_ids=_padded(positions, 0),
        windows=torch.from_numpy(np.array(numbers, np.int64)),
        lengths=tuple(sizes),
        token_type_ids=None if token_types is None else _padded(token_types, 0),
        attention_mask=_padded([np.ones(length) for length in sizes], 0),
        weights=None if targets is None else torch.from_numpy(targets.weights),
    )


def _row(
    windows: Sequence[Tokenised],
    numbers: Sequence[int] | NDArray[np.int64],
    sizes: Sequence[int],
    token_types: Sequence[NDArray[np.int8]] | None,
    pad_id: int,
    position_offset: int,
    filling: int,
    targets: SequenceTargets | None,
) -> Batch:
    """Sequences end to end by length, a stable order: the row is a function of the windows alone."""
    ids = [window.input_ids for window in windows] + [np.full(filling, pad_id, np.int32)]
    types = None if token_types is None else [*token_types, np.zeros(filling, np.int8)]
    whole = [*sizes, filling]
    row = sorted(range(len(whole)) if filling else range(len(sizes)), key=whole.__getitem__)
    order = [i for i in row if i < len(sizes)]
    lengths = tuple(whole[i] for i in row)
    if targets is None:
        own = [window.labels for window in windows] + [np.full(filling, IGNORED, np.int16)]
        labels, weights = _end_to_end([own[i] for i in row]), None
    else:
        nothing = SequenceTargets(np.full_like(targets.labels[:1], IGNORED), np.zeros(1, np.float32))
        labels = torch.from_numpy(np.concatenate([targets.labels, nothing.labels])[row])
        weights = torch.from_numpy(np.concatenate([targets.weights, nothing.weights])[row])
    return Batch(
        input_ids=_end_to_end([ids[i] for i in row]),
        labels=labels,
        position_ids=_end_to_end([np.arange(position_offset, position_offset + length) for length in lengths]),
        windows=torch.from_numpy(np.asarray(numbers, np.int64)[order]),
        lengths=tuple(sizes[i] for i in order),
        token_type_ids=None if types is None else _end_to_end([types[i] for i in row]),
        weights=weights,
        layout=RowLayout.of(lengths),
    )


def forward_kwargs(batch: Batch) -> dict[str, Any]:
    """What to pass to ``model(...)``: a model that `use_unpadded` prepared for rows, any model for padded batches."""
    given = {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "token_type_ids": batch.token_type_ids,
        "attention_mask": batch.attention_mask,
        "row_layout": batch.layout,
    }
    return {name: value for name, value in given.items() if value is not None}


def _end_to_end(rows: Sequence[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.concatenate(rows).astype(np.int64))[None]


def _padded(rows: Sequence[NDArray[Any]], fill: int) -> Tensor:
    table = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(table)
