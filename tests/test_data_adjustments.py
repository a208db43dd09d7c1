"""Photo adjustments against values worked out by hand, and the table-driven path for bytes against the exact one."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from varedit.data.adjustments import ALL_ADJUSTMENTS, UNGRADED, Adjustment, Kind, Strength, srgb_decoded, srgb_encoded
from varedit.errors import UsageError

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
    ],
)
def test_a_pixel_becomes_what_was_worked_out_by_hand(
    kind: Kind, strength: Strength, before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    pixel = np.array([[before]])
    assert_allclose(Adjustment(kind, strength).apply(pixel)[0, 0], after, atol=1e-8)


def test_there_are_27_adjustments_all_different_on_one_picture() -> None:
    picture = np.random.default_rng(0).random((5, 7, 3))
    results = [adjustment.apply(picture) for adjustment in ALL_ADJUSTMENTS]
    assert len(set(ALL_ADJUSTMENTS)) == 27
    distances = [np.abs(a - b).mean() for i, a in enumerate(results) for b in results[:i]]
    assert min(distances) > 0.01


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind not in UNGRADED])
def test_a_stronger_adjustment_goes_further_in_the_same_direction(kind: Kind) -> None:
    picture = np.random.default_rng(1).uniform(0.3, 0.7, (5, 7, 3))
    steps = [picture, *(Adjustment(kind, strength).apply(picture) for strength in get_args(Strength))]
    for nearer, further in pairwise(steps):
        assert np.all((further - nearer) * (steps[-1] - picture) >= -1e-12)
        assert np.abs(further - nearer).mean() > 0.01


@pytest.mark.parametrize("adjustment", ALL_ADJUSTMENTS, ids=str)
def test_bytes_are_the_rounded_exact_result(adjustment: Adjustment) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (2, 31, 37, 3), dtype=np.uint8)
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
    [("blur", "plain", "'blur'"), ("sepia", "strong", "sepia"), ("warmer", "huge", "'huge'")],
)
def test_an_adjustment_that_does_not_exist_is_named(kind: Kind, strength: Strength, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Adjustment(kind, strength)
