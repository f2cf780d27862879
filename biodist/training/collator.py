"""Windows of a store, put together into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from biodist.data.store import SampleStore
from biodist.training.batch import Batch, collate


@dataclass(frozen=True)
class Collator:
    """How this run's model wants its batches."""

    padding: Literal["none", "batch"]
    pad_id: int
    position_offset: int  # RoBERTa counts positions from padding_idx + 1
    round_to: int = 1  # tokens of a row are filled up to a multiple of it

    def collate(self, store: SampleStore, numbers: Sequence[int] | np.ndarray) -> Batch:
        """The batch of these windows; their numbers travel in it."""
        return collate(
            [store.window(int(number)) for number in numbers],
            numbers,
            padding=self.padding,
            pad_id=self.pad_id,
            position_offset=self.position_offset,
            round_to=self.round_to,
        )
