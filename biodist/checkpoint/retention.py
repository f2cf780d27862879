"""Which checkpoints are kept."""

from __future__ import annotations

from collections.abc import Iterable

from biodist.config.recipe import CheckpointSection


def kept_steps(steps: Iterable[int], best: Iterable[int], keep: CheckpointSection) -> set[int]:
    """Steps the retention keeps: the newest ``keep_last``, the first ``keep_best`` of ``best`` (best first), and each
    multiple of ``keep_every``."""
    ordered = sorted(steps)
    kept = set(ordered[-keep.keep_last :])
    kept |= set([step for step in best if step in ordered][: keep.keep_best])
    if keep.keep_every:
        kept |= {step for step in ordered if step % keep.keep_every == 0}
    return kept
