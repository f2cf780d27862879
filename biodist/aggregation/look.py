"""Names, units and colours of what is shown, the same in TensorBoard's tree, on the report's page and in a terminal.

The colours hold a contrast of 3 : 1 or more against white and against a dark page, so lines are seen on both and in
print; the first six are told apart with each common form of colour-blindness as well (tests/aggregation/test_look.py).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Part = Literal["training", "evaluating", "saving", "starting", "queue", "idle", "lost"]

_GROUPS = ("#0072B2", "#D55E00", "#009E73", "#B5609A", "#8844EE", "#3A8FD9", "#9A7B00", "#7F7F7F")
_PARTS: dict[Part, str] = {
    "training": "#0072B2",
    "evaluating": "#3A8FD9",
    "saving": "#009E73",
    "starting": "#8844EE",
    "queue": "#7F7F7F",
    "idle": "#A6A6A6",
    "lost": "#D55E00",
}
_COUNTS = frozenset({"tokens", "samples", "support", "confusion", "checkpoint_step", "checkpoint_bytes"})


class Quantity(NamedTuple):
    """What a tag's last word measures."""

    title: str
    unit: str  # "" for a plain number


_QUANTITIES = {
    "loss": Quantity("loss", ""),
    "learning_rate": Quantity("learning rate", ""),
    "grad_norm": Quantity("gradient norm before clipping", ""),
    "precision": Quantity("precision", ""),
    "recall": Quantity("recall", ""),
    "f1": Quantity("F1", ""),
    "macro_f1": Quantity("macro F1", ""),
    "micro_f1": Quantity("micro F1", ""),
    "example_f1": Quantity("F1 by sample", ""),
    "accuracy": Quantity("accuracy", ""),
    "matthews": Quantity("Matthews correlation", ""),
    "tokens": Quantity("tokens in the step", "tokens"),
    "samples": Quantity("samples in the step", "samples"),
    "seconds": Quantity("step time", "s"),
    "step_seconds": Quantity("step time", "s"),
    "forward_seconds": Quantity("time in forward passes", "s"),
    "waiting_seconds": Quantity("time waiting for other ranks", "s"),
    "tokens_per_second": Quantity("speed", "tokens/s"),
    "memory_bytes": Quantity("peak memory", "bytes"),
    "checkpoint_seconds": Quantity("time to publish a checkpoint", "s"),
    "checkpoint_stall_seconds": Quantity("time training stood still for a checkpoint", "s"),
    "checkpoint_bytes": Quantity("size of a checkpoint", "bytes"),
    "support": Quantity("gold examples", "examples"),
}


def colour(place: int) -> str:
    """Of the group at `place` (from 0) in the order of its view."""
    return _GROUPS[place % len(_GROUPS)]


def band_colour(place: int) -> str:
    """The same, faint: the band around its mean."""
    code = colour(place)
    red, green, blue = (int(code[first : first + 2], 16) for first in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def part_colour(part: Part) -> str:
    """Of a part of a run's time."""
    return _PARTS[part]


def quantity(tag: str) -> Quantity:
    """What a tag measures: `validation/f1/Disease` is an F1."""
    for word in tag.split("/")[1:]:
        if word in _QUANTITIES:
            return _QUANTITIES[word]
    return Quantity(tag.rpartition("/")[2].replace("_", " "), "")


def is_charted(tag: str) -> bool:
    """Counts are for tables: a chart of them would only crowd the page."""
    return not _COUNTS & set(tag.split("/")[1:2])
