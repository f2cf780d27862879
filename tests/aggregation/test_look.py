"""Colours that are seen on light and dark pages, in print, and with colour-blindness; names and units."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from biodist.aggregation.look import band_colour, colour, is_charted, part_colour, quantity

LIGHT, DARK = "#FFFFFF", "#16181D"
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(code: str) -> np.ndarray:
    channels = np.array([int(code[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance."""
    light, dark = sorted((float(linear(code) @ [0.2126, 0.7152, 0.0722]) for code in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    x, y, z = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("page", [LIGHT, DARK])
def test_every_colour_is_seen(page: str) -> None:
    for place in range(8):
        assert contrast(colour(place), page) >= 3.0, (colour(place), page)


@pytest.mark.parametrize("kind", [*BLINDNESS, "none"])
def test_the_first_six_are_told_apart(kind: str) -> None:
    seen = np.array(BLINDNESS.get(kind, np.eye(3)))
    for one, other in combinations(range(6), 2):
        distance = float(np.linalg.norm(lab(seen @ linear(colour(one))) - lab(seen @ linear(colour(other)))))
        assert distance >= 10, (kind, colour(one), colour(other), round(distance, 1))


def test_the_same_place_has_the_same_colour() -> None:
    assert colour(0) == colour(8) and colour(0) == part_colour("training")
    assert band_colour(0) == "rgba(0,114,178,0.18)"


def test_names_and_units() -> None:
    assert quantity("validation/f1/Disease") == ("F1", "")
    assert quantity("ranks/tokens_per_second/min").unit == "tokens/s"
    assert quantity("train/something_else") == ("something else", "")
    assert is_charted("train/loss") and is_charted("loss") and is_charted("validation/f1/support")
    assert not any(map(is_charted, ("train/tokens", "validation/support/Disease", "test/confusion/a/b")))
