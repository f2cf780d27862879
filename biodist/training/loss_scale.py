"""The dynamic loss scale of fp16, one for every strategy.

Small gradients vanish in fp16, so the loss is multiplied before the backward pass and the gradients are divided after
it. The scale is halved when a step's gradients overflow, and that step is skipped; it is doubled after many that did
not. Gradients are summed over ranks before they are looked at, so every rank has the same scale.

torch's own scaler is not used: DeepSpeed gives it each rank's part of the gradients alone, clips them before they are
divided, and leaves a step that overflowed without telling it, so that the scale never falls.
"""

from __future__ import annotations

from biodist.checkpoint.manifest import ScalerState

FIRST = 2.0**16
FACTOR = 2.0  # a power of two: scaling changes no digit of a gradient
PATIENCE = 2000  # steps without overflow before the scale grows


class DynamicLossScale:
    """Its ``state`` is part of every checkpoint."""

    def __init__(self) -> None:
        self.state = ScalerState(scale=FIRST, good_steps=0)

    @property
    def scale(self) -> float:
        return self.state.scale

    def update(self, overflowed: bool) -> None:
        """After each step."""
        scale, good_steps = self.state.scale, self.state.good_steps + 1
        if overflowed:
            scale, good_steps = scale / FACTOR, 0
        elif good_steps == PATIENCE:
            scale, good_steps = scale * FACTOR, 0
        self.state = ScalerState(scale=scale, good_steps=good_steps, skipped=self.state.skipped + overflowed)
