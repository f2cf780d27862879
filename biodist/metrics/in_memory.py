"""What the package's modules of `evaluate` share: everything stays in memory, no hub is asked."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import evaluate


class MetricInMemory(evaluate.Metric):  # type: ignore[misc]
    """A metric whose predictions and references are never written: gold labels of a sensitive corpus are among them.

    `evaluate` insists on a place on disk all the same: an empty one is made in the folder `cache`, and removed again
    at once.
    """

    def __init__(self, cache: Path):
        with TemporaryDirectory(dir=cache) as place:
            super().__init__(cache_dir=place, keep_in_memory=True, seed=0)
