"""Named places: their soft masks pixel by pixel, how they divide a picture, and where things are put."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from varedit.data.places import CELLS, REGIONS, Region, region_mask

SIZE = (19, 31)
BORDER = 0.08


def inside(share: float, start: float, end: float) -> float:
    """1 well between the ends, 0.5 at them, linear over the border."""
    return min(max(0.5 + min(share - start, end - share) / BORDER, 0.0), 1.0)


@pytest.mark.parametrize(
    ("region", "across", "down"),
    [
        ("left", (-9, 0.5), (-9, 9)),
        ("right", (0.5, 9), (-9, 9)),
        ("top", (-9, 9), (-9, 0.5)),
        ("bottom", (-9, 9), (0.5, 9)),
        ("centre", (0.25, 0.75), (0.25, 0.75)),
        ("top_left", (-9, 0.5), (-9, 0.5)),
        ("top_right", (0.5, 9), (-9, 0.5)),
        ("bottom_left", (-9, 0.5), (0.5, 9)),
        ("bottom_right", (0.5, 9), (0.5, 9)),
    ],
)
def test_a_mask_holds_its_part_of_the_picture_with_a_soft_border(
    region: Region, across: tuple[float, float], down: tuple[float, float]
) -> None:
    mask = region_mask(region, SIZE)
    assert mask.shape == (*SIZE, 1)
    for y, x in np.ndindex(*SIZE):
        expected = inside((y + 0.5) / SIZE[0], *down) * inside((x + 0.5) / SIZE[1], *across)
        assert_allclose(mask[y, x, 0], expected, atol=1e-5)


def test_halves_and_quarters_divide_the_picture() -> None:
    quarters: tuple[Region, ...] = ("top_left", "top_right", "bottom_left", "bottom_right")
    for parts in (("left", "right"), ("top", "bottom"), quarters):
        assert_allclose(sum(region_mask(part, SIZE) for part in parts), np.ones((*SIZE, 1)), atol=1e-5)


def test_a_thing_in_the_middle_of_a_cell_stands_where_its_place_is() -> None:
    assert set(CELLS) == set(REGIONS) == set(get_args(Region))
    for region, (x, y) in CELLS.items():
        assert region_mask(region, SIZE)[int(y * SIZE[0]), int(x * SIZE[1]), 0] == 1


def test_a_mask_is_made_once_and_cannot_be_changed() -> None:
    mask = region_mask("left", SIZE)
    assert region_mask("left", SIZE) is mask
    with pytest.raises(ValueError, match="read-only"):
        mask[0, 0] = 0
    assert_array_equal(mask[0, :5, 0], np.ones(5))
