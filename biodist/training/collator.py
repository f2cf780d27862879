"""Windows of a store, put together into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from biodist.data.store import SampleStore
from biodist.data.windows import Window
from biodist.tasks.protocol import Task
from biodist.training.batch import Batch, collate


@dataclass(frozen=True)
class Collator:
    """How this run's model wants its batches."""

    padding: Literal["none", "batch"]
    pad_id: int
    position_offset: int  # RoBERTa counts positions from padding_idx + 1
    task: Task  # knows what is to be said of whole windows
    token_types: bool = False  # whether the model tells the texts of a pair apart by their tokens' types
    round_to: int = 1  # tokens of a row are filled up to a multiple of it

    def collate(self, store: SampleStore, numbers: Sequence[int] | np.ndarray) -> Batch:
        """The batch of these windows; their numbers travel in it."""
        windows = [store.window(int(number)) for number in numbers]
        return collate(
            windows,
            numbers,
            padding=self.padding,
            pad_id=self.pad_id,
            position_offset=self.position_offset,
            token_types=[_types(window) for window in windows] if self.token_types else None,
            round_to=self.round_to,
            targets=self.task.targets(store, np.asarray(numbers, np.int64)),
        )


def _types(window: Window) -> np.ndarray:
    """0 for the first text's tokens, 1 for the second's."""
    return (np.arange(len(window.input_ids)) >= window.second).astype(np.int8)
