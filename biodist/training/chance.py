"""Every random choice of training, derived from the recipe's seed.

The generators are set anew before each step from (seed, step, rank). So a resumed run draws what the uninterrupted
one drew, at any step, with no generator's state to save; and at another world size it draws something stated.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive(seed: int, *place: object) -> int:
    """A 63-bit seed for one place, such as ("step", 17, "rank", 0)."""
    text = "/".join(str(part) for part in (seed, *place))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def seed_everything(seed: int) -> None:
    """Sets Python's, NumPy's and torch's generators (CUDA's with it)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_model(seed: int) -> None:
    """Before the model is built: the same first weights on every rank."""
    seed_everything(derive(seed, "model"))


def seed_step(seed: int, step: int, rank: int) -> None:
    """Before each step."""
    seed_everything(derive(seed, "step", step, "rank", rank))


def exact_arithmetic(device: str) -> None:
    """CUDA alone: only kernels that give the same bits each time. The CPU's are so already."""
    if device == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
