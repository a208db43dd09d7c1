"""Photo adjustments against values worked out by hand, and the table-driven path for bytes against the exact one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from varedit.data.adjustments import (
    ALL_ADJUSTMENTS,
    SPATIAL,
    UNGRADED,
    Adjustment,
    Kind,
    Strength,
    blurred,
    look_up,
    srgb_decoded,
    srgb_encoded,
)
from varedit.errors import UsageError
from varedit.mosaic import pixelated

HALF = 0.2140411405  # linear light of the encoded value 0.5: ((0.5 + 0.055) / 1.055) ** 2.4


def encoded(linear: float) -> float:
    """sRGB transfer above its linear toe, written out once more."""
    return float(1.055 * min(linear, 1.0) ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    ("kind", "strength", "before", "after"),
    [
        ("black_and_white", "plain", (1.0, 0.0, 0.0), (0.299, 0.299, 0.299)),
        ("black_and_white", "plain", (0.2, 0.6, 0.9), (0.5146, 0.5146, 0.5146)),  # .0598 + .3522 + .1026
        ("sepia", "plain", (1.0, 0.0, 0.0), (0.393, 0.349, 0.272)),
        ("sepia", "plain", (1.0, 1.0, 1.0), (1.0, 1.0, 0.937)),  # 1.351 and 1.203 are clipped
        ("negative", "plain", (0.2, 0.5, 1.0), (0.8, 0.5, 0.0)),
        ("more_contrast", "slight", (0.5, 0.6, 0.4), (0.5, 0.62, 0.38)),
        ("more_contrast", "plain", (0.5, 0.6, 0.4), (0.5, 0.645, 0.355)),
        ("more_contrast", "strong", (0.9, 0.6, 0.1), (1.0, 0.69, 0.0)),
        ("less_contrast", "slight", (0.0, 0.5, 1.0), (0.09, 0.5, 0.91)),
        ("less_contrast", "plain", (0.0, 0.5, 1.0), (0.19, 0.5, 0.81)),
        ("less_contrast", "strong", (0.0, 0.5, 1.0), (0.3, 0.5, 0.7)),
        ("more_saturation", "slight", (0.6, 0.5, 0.4), (0.628525, 0.493525, 0.358525)),  # luma 0.5185
        ("more_saturation", "plain", (0.6, 0.5, 0.4), (0.6652, 0.4852, 0.3052)),
        ("more_saturation", "strong", (0.6, 0.5, 0.4), (0.7304, 0.4704, 0.2104)),
        ("less_saturation", "slight", (1.0, 0.0, 0.0), (0.7897, 0.0897, 0.0897)),
        ("less_saturation", "plain", (1.0, 0.0, 0.0), (0.61445, 0.16445, 0.16445)),
        ("less_saturation", "strong", (1.0, 0.0, 0.0), (0.4392, 0.2392, 0.2392)),
        ("brighter", "slight", (0.5, 0.0, 1.0), (encoded(HALF * 1.27456063), 0.0, 1.0)),
        ("brighter", "plain", (0.5, 0.0, 1.0), (0.6243497165, 0.0, 1.0)),  # HALF * 2 ** 0.7 = 0.3477156
        ("brighter", "strong", (0.5, 0.0, 1.0), (encoded(HALF * 2.29739671), 0.0, 1.0)),
        ("darker", "slight", (0.5, 0.0, 1.0), (encoded(HALF / 1.27456063), 0.0, encoded(1 / 1.27456063))),
        ("darker", "plain", (0.5, 0.0, 1.0), (0.3984115383, 0.0, encoded(1 / 1.62450479))),
        ("darker", "strong", (0.5, 0.0, 1.0), (encoded(HALF / 2.29739671), 0.0, encoded(1 / 2.29739671))),
        ("warmer", "slight", (0.5, 0.5, 0.5), (encoded(HALF * 1.2), 0.5, encoded(HALF / 1.2))),
        ("warmer", "plain", (0.5, 0.5, 0.5), (0.6021497410, 0.5, 0.4137287855)),
        ("warmer", "strong", (0.5, 0.5, 0.5), (encoded(HALF * 2.2), 0.5, encoded(HALF / 2.2))),
        ("cooler", "slight", (0.5, 0.5, 0.5), (encoded(HALF / 1.2), 0.5, encoded(HALF * 1.2))),
        ("cooler", "plain", (0.5, 0.5, 0.5), (0.4137287855, 0.5, 0.6021497410)),
        ("cooler", "strong", (0.5, 0.5, 0.5), (encoded(HALF / 2.2), 0.5, encoded(HALF * 2.2))),
        ("fade", "slight", (1.0, 0.0, 0.0), (0.88784, 0.24784, 0.24784)),  # 0.8 * (0.299 + 0.8 * 0.701) + 0.2
        ("fade", "plain", (1.0, 0.0, 0.0), (0.8405225, 0.4180225, 0.4180225)),
        ("fade", "strong", (1.0, 0.0, 0.0), (0.8265025, 0.6240025, 0.6240025)),
        ("red_tint", "plain", (0.2, 0.6, 0.4), (0.4, 0.45, 0.3)),
        ("yellow_tint", "strong", (0.2, 0.6, 0.4), (0.536, 0.726, 0.232)),
        ("green_tint", "slight", (0.2, 0.6, 0.4), (0.176, 0.624, 0.364)),
        ("blue_tint", "plain", (0.2, 0.6, 0.4), (0.15, 0.5, 0.55)),
        ("purple_tint", "strong", (0.2, 0.6, 0.4), (0.368, 0.348, 0.61)),
    ],
)
def test_a_pixel_becomes_what_was_worked_out_by_hand(
    kind: Kind, strength: Strength, before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    pixel = np.array([[before]])
    assert_allclose(Adjustment(kind, strength).apply(pixel)[0, 0], after, atol=1e-8)


def mirrored_index(position: int, side: int) -> int:
    """Beyond an edge the picture comes again, mirrored: -1 is 0, -2 is 1, ``side`` is ``side - 1``."""
    while not 0 <= position < side:
        position = -1 - position if position < 0 else 2 * side - 1 - position
    return position


@pytest.mark.parametrize(("strength", "share"), [("slight", 1 / 72), ("plain", 1 / 36), ("strong", 1 / 18)])
def test_blur_is_a_gaussian_of_a_share_of_the_shorter_side(strength: Strength, share: float) -> None:
    """Summed pixel by pixel in two dimensions at once; the picture is narrower than the window is wide."""
    picture = np.random.default_rng(4).uniform(0.1, 0.9, (36, 40, 3))
    sigma = 36 * share
    reach = math.ceil(3 * sigma)
    steps = range(-reach, reach + 1)
    weights = {(a, b): math.exp(-(a * a + b * b) / (2 * sigma * sigma)) for a in steps for b in steps}
    blurry = Adjustment("blur", strength).apply(picture)
    for y, x in ((0, 0), (0, 39), (17, 20), (35, 3)):
        near = [
            weight * picture[mirrored_index(y + a, 36), mirrored_index(x + b, 40)] for (a, b), weight in weights.items()
        ]
        assert_allclose(blurry[y, x], np.sum(near, axis=0) / sum(weights.values()), atol=1e-12)


def test_a_wide_blur_of_a_small_picture_mirrors_it_more_than_once() -> None:
    picture = np.zeros((1, 2, 3))
    picture[0, 0] = 1
    weights = [math.exp(-0.5 * (step / 2) ** 2) for step in range(-6, 7)]
    lit = [weight for step, weight in zip(range(-6, 7), weights, strict=True) if mirrored_index(step, 2) == 0]
    assert_allclose(blurred(picture, 2.0)[0, 0], sum(lit) / sum(weights), atol=1e-12)


@pytest.mark.parametrize(("strength", "blocks"), [("slight", 24), ("plain", 14), ("strong", 8)])
def test_pixelation_takes_means_of_blocks_of_which_the_shorter_side_has_so_many(
    strength: Strength, blocks: int
) -> None:
    picture = np.random.default_rng(5).random((blocks * 3, blocks * 6, 3))
    means = picture.reshape(blocks, 3, 2 * blocks, 3, 3).mean(axis=(1, 3))
    expected = np.kron(means, np.ones((3, 3, 1)))
    assert_allclose(Adjustment("pixelate", strength).apply(picture), expected, atol=1e-12)


def test_blocks_that_do_not_divide_the_picture_differ_by_a_pixel() -> None:
    ramp = np.broadcast_to(np.arange(7.0)[:, None, None], (7, 7, 3))
    assert_array_equal(pixelated(ramp, 3)[:, 0, 0], [0.5, 0.5, 2.5, 2.5, 5, 5, 5])  # blocks start at 0, 7/3 and 14/3


@pytest.mark.parametrize(("strength", "loss"), [("slight", 0.45), ("plain", 0.7), ("strong", 0.95)])
def test_a_vignette_leaves_the_middle_and_darkens_smoothly_to_the_corners(strength: Strength, loss: float) -> None:
    picture = np.random.default_rng(6).uniform(0.2, 0.9, (9, 12, 3))
    darkened = Adjustment("vignette", strength).apply(picture)
    for y, x in np.ndindex(9, 12):
        across, down = (x + 0.5) / 12 * 2 - 1, (y + 0.5) / 9 * 2 - 1
        run = min(max((math.sqrt((across**2 + down**2) / 2) - 0.3) / 0.7, 0), 1)
        assert_allclose(darkened[y, x], picture[y, x] * (1 - loss * (3 * run**2 - 2 * run**3)), atol=1e-12)
    assert_array_equal(darkened[4, 5:7], picture[4, 5:7])


def test_mirrored_is_left_to_right() -> None:
    picture = np.random.default_rng(7).random((2, 3, 3))
    expected = [[picture[0, 2], picture[0, 1], picture[0, 0]], [picture[1, 2], picture[1, 1], picture[1, 0]]]
    assert_array_equal(Adjustment("mirror").apply(picture), expected)


def test_a_table_is_looked_up_by_channel() -> None:
    table = np.arange(256, dtype=np.uint8)[:, None] + np.array([0, 1, 2], dtype=np.uint8)
    pixels = np.array([[[3, 3, 3], [9, 200, 255]]], dtype=np.uint8)
    assert_array_equal(look_up(table, pixels), [[[3, 4, 5], [9, 201, 1]]])


def test_there_are_55_adjustments_all_different_on_one_picture() -> None:
    noise = np.random.default_rng(0).random((4, 5, 3))
    picture = noise.repeat(12, axis=0).repeat(12, axis=1) * np.linspace(0.3, 1, 60)[None, :, None]
    results = [adjustment.apply(picture) for adjustment in ALL_ADJUSTMENTS]
    assert len(set(ALL_ADJUSTMENTS)) == 55
    distances = [np.abs(a - b).mean() for i, a in enumerate(results) for b in results[:i]]
    assert min(distances) > 0.005


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind not in {*UNGRADED, "blur", "pixelate"}])
def test_a_stronger_adjustment_goes_further_in_the_same_direction(kind: Kind) -> None:
    picture = np.random.default_rng(1).uniform(0.3, 0.7, (5, 7, 3))
    steps = [picture, *(Adjustment(kind, strength).apply(picture) for strength in get_args(Strength))]
    for nearer, further in pairwise(steps):
        assert np.all((further - nearer) * (steps[-1] - picture) >= -1e-12)
        assert np.abs(further - nearer).mean() > 0.01


@pytest.mark.parametrize("adjustment", ALL_ADJUSTMENTS, ids=str)
def test_bytes_are_the_rounded_exact_result(adjustment: Adjustment) -> None:
    shape = (31, 37, 3) if adjustment.kind in SPATIAL else (2, 31, 37, 3)
    pixels = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    exact = adjustment.apply(pixels / 255) * 255
    error = np.abs(adjustment.apply_to_bytes(pixels) - exact)
    assert error.max() <= 0.5 + 1e-3  # 1e-3: where channels mix, float32 may fall on the other side of a half


@given(st.sampled_from(ALL_ADJUSTMENTS), st.tuples(*[st.floats(0, 1, width=32)] * 3), st.sampled_from(["f4", "f8"]))
def test_any_pixel_stays_in_range_and_keeps_its_type(
    adjustment: Adjustment, pixel: tuple[float, float, float], dtype: str
) -> None:
    result = adjustment.apply(np.array([[pixel]], dtype=dtype))
    assert result.dtype == np.dtype(dtype) and result.shape == (1, 1, 3)
    assert result.min() >= 0 and result.max() <= 1


def test_the_input_is_left_alone() -> None:
    pixels = np.random.default_rng(3).random((3, 4, 3))
    before = pixels.copy()
    for adjustment in ALL_ADJUSTMENTS:
        adjustment.apply(pixels)
    assert_array_equal(pixels, before)


def test_srgb_transfer_is_its_own_inverse_on_both_branches() -> None:
    values = np.array([0.0, 0.001, 0.04045, 0.0405, 0.5, 1.0])
    assert_allclose(srgb_encoded(srgb_decoded(values)), values, atol=1e-7)
    assert_allclose(srgb_decoded(np.array([0.0404499])), 0.0404499 / 12.92)


@pytest.mark.parametrize(
    ("kind", "strength", "told"),
    [("glow", "plain", "'glow'"), ("sepia", "strong", "sepia"), ("warmer", "huge", "'huge'")],
)
def test_an_adjustment_that_does_not_exist_is_named(kind: Kind, strength: Strength, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Adjustment(kind, strength)
