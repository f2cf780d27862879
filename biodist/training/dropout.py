"""Dropout for processors: sixteen random bits an element, all the randomness drawn in one pass.

torch's own draws one Bernoulli number an element, an eighth of a training step at the usual shapes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

INT64_MIN = -(2**63)


def keep_mask(shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
    """A CPU tensor that is 0 with probability ``p`` (to 1/65536) and 1 / (1 - p) elsewhere.

    Drawn from torch's default generator: the same seed gives the same mask whatever the number of threads.
    """
    count = shape.numel()
    # From the smallest integer with no upper bound: all 64 bits are random. (Bare `random_()` leaves the sign at 0.)
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(INT64_MIN, None).view(torch.int16)[:count]
    # Straight into floating point: through booleans it costs five times as much.
    kept = torch.ge(bits, round(p * 65536) - 32768, out=torch.empty(count, dtype=dtype))
    return kept.mul_(1 / (1 - p)).view(shape)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        mask = keep_mask(x.shape, p, x.dtype)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None


class BitDropout(nn.Dropout):
    """`nn.Dropout`, cheaper on a CPU and itself elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return input
        if input.device.type != "cpu" or self.p == 1.0:
            return super().forward(input)
        result: Tensor = _Dropout.apply(input, self.p)  # type: ignore[no-untyped-call]
        return result


def use_bit_dropout(model: nn.Module) -> None:
    """Puts `BitDropout` in the place of every `nn.Dropout` of the model. It has no weights: nothing else changes."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, BitDropout(child.p).train(child.training))
