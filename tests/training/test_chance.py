"""Random choices are functions of the seed and of the place they are made at."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from biodist.training.chance import derive, seed_model, seed_step

Draws = tuple[float, float, float]


def draws() -> Draws:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def step_draws(seed: int, step: int, rank: int) -> Draws:
    seed_step(seed, step, rank)
    return draws()


def test_every_step_and_rank_draws_its_own() -> None:
    places = list(product((0, 1), range(1, 6), range(4)))
    drawn = [step_draws(*place) for place in places]
    for generator in zip(*drawn, strict=True):  # each of the three differs everywhere
        assert len(set(generator)) == len(places)


def test_a_step_draws_the_same_again_whatever_came_before() -> None:
    first = step_draws(42, 7, 1)
    draws()
    assert step_draws(42, 7, 1) == first


def test_the_model_draws_nothing_that_a_step_draws() -> None:
    seed_model(42)
    assert draws() not in [step_draws(42, step, rank) for step in range(3) for rank in range(3)]


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.integers(0, 10**4))
def test_a_derived_seed_fits_every_generator(seed: int, step: int, rank: int) -> None:
    assert 0 <= derive(seed, "step", step, "rank", rank) < 2**63


def test_places_that_read_alike_are_told_apart() -> None:
    assert derive(1, "step", 11, "rank", 1) != derive(1, "step", 1, "rank", 11)
    assert derive(1, "step", 1) != derive(11, "step", 1)
