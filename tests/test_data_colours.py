"""Colours by name: HSL against the standard library's, soft shares worked out by hand, and what recolouring keeps."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from varedit.data.colours import (
    COLOUR_NAMES,
    ColourName,
    colour_shares,
    drained,
    hue_rotated,
    hue_saturation_lightness,
    recoloured,
    rgb_of,
)

PIXELS = np.concatenate(
    [
        np.random.default_rng(0).random((60, 3)),
        np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [1, 1, 0], [0, 1, 1], [0.2, 0.2, 0.9]]),
    ]
)[None]  # (1, 67, 3)


def standard_hsl(pixel: NDArray[np.float64]) -> tuple[float, float, float]:
    hue, lightness, saturation = colorsys.rgb_to_hls(*pixel)
    return hue * 360, saturation, lightness


def pixel_of(hue: float, saturation: float, lightness: float) -> NDArray[np.float64]:
    return np.array(colorsys.hls_to_rgb(hue / 360 % 1, lightness, saturation))[None, None]


def share_of(name: ColourName, hue: float, saturation: float = 1.0, lightness: float = 0.5) -> float:
    return float(colour_shares(pixel_of(hue, saturation, lightness))[name].item())


def test_hue_saturation_and_lightness_are_those_of_the_standard_library() -> None:
    measured = np.concatenate(hue_saturation_lightness(PIXELS), axis=-1)
    assert_allclose(measured[0], [standard_hsl(pixel) for pixel in PIXELS[0]], atol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [("f8", 1e-12), ("f4", 2e-6)])
def test_hsl_and_back_is_the_same_pixel(dtype: str, tolerance: float) -> None:
    back = rgb_of(*hue_saturation_lightness(PIXELS.astype(dtype)))
    assert back.dtype == np.dtype(dtype)
    assert_allclose(back, PIXELS, atol=tolerance)


def test_a_hue_of_360_degrees_is_red() -> None:
    one, half = np.ones((1, 1)), np.full((1, 1), 0.5)
    assert_allclose(rgb_of(360 * one, one, half), [[1, 0, 0]], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "hue", "share"),
    [
        ("red", 0, 1.0),
        ("red", -14, 1.0),
        ("red", 346, 1.0),
        ("red", 18, 0.5),  # 4 of 8 degrees beyond the end at 14
        ("red", 340, 0.25),  # 6 of 8 degrees before the start at 346
        ("red", 22, 0.0),
        ("orange", 18, 1.0),
        ("yellow", 56, 1.0),
        ("green", 75, 1.0),
        ("green", 159, 0.5),
        ("turquoise", 180, 1.0),
        ("blue", 199, 0.5),
        ("blue", 255, 1.0),
        ("purple", 280, 1.0),
        ("pink", 342, 0.75),
        ("pink", 300, 0.375),  # 5 of 8 degrees before 305
    ],
)
def test_the_share_of_a_vivid_pixel_follows_from_its_hue(name: ColourName, hue: float, share: float) -> None:
    assert share_of(name, hue) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize(
    ("saturation", "lightness", "share"),
    [
        (0.15, 0.5, 0.0),
        (0.225, 0.5, 0.5),
        (0.3, 0.5, 1.0),
        (1.0, 0.05, 0.5),
        (1.0, 0.98, 0.2),
        (0.225, 0.95, 0.25),
        (1.0, 0.0, 0.0),
    ],
)
def test_towards_grey_black_and_white_a_pixel_loses_its_colour(
    saturation: float, lightness: float, share: float
) -> None:
    assert share_of("green", 115, saturation, lightness) == pytest.approx(share, abs=1e-9)


def test_every_hue_belongs_to_one_or_two_neighbouring_colours() -> None:
    for hue in range(360):
        shares = [share_of(name, hue) for name in COLOUR_NAMES]
        assert max(shares) > 0.4 and sum(share > 0 for share in shares) <= 2


MIDDLES = {
    "red": 0,
    "orange": 30,
    "yellow": 56,
    "green": 115,
    "turquoise": 179,
    "blue": 229,
    "purple": 280,
    "pink": 322.5,
}


@pytest.mark.parametrize("name", COLOUR_NAMES)
def test_a_recoloured_pixel_has_the_hue_of_the_colour_and_its_own_lightness(name: ColourName) -> None:
    _, saturation, lightness = np.moveaxis(np.array([standard_hsl(pixel) for pixel in PIXELS[0]]), -1, 0)
    expected = [
        colorsys.hls_to_rgb(MIDDLES[name] / 360, light, max(much, 0.45))
        for much, light in zip(saturation, lightness, strict=True)
    ]
    assert_allclose(recoloured(PIXELS, np.ones((1, 67, 1)), name)[0], expected, atol=1e-9)


def test_edits_go_as_far_as_the_share_says() -> None:
    share = np.array([0.0, 0.25, 1.0]).reshape(1, 3, 1)
    pixels = np.broadcast_to(np.array([0.2, 0.6, 0.9]), (1, 3, 3))
    grey = drained(pixels, share)
    assert_allclose(grey[0, 0], pixels[0, 0])
    assert_allclose(grey[0, 1], [0.27865, 0.57865, 0.80365])  # a quarter of the way to the luma 0.5146
    assert_allclose(grey[0, 2], [0.5146] * 3)
    red = recoloured(pixels, share, "red")
    assert_array_equal(red[0, 0], pixels[0, 0])
    assert_allclose(red[0, 1], 0.75 * pixels[0, 1] + 0.25 * red[0, 2])


@pytest.mark.parametrize("degrees", [0.0, 77.0, 300.0])
def test_turned_hues_keep_saturation_and_lightness(degrees: float) -> None:
    expected = []
    for pixel in PIXELS[0]:
        hue, saturation, lightness = standard_hsl(pixel)
        expected.append(colorsys.hls_to_rgb((hue + degrees) / 360 % 1, lightness, saturation))
    assert_allclose(hue_rotated(PIXELS, degrees)[0], expected, atol=1e-9)
