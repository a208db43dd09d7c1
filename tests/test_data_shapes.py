"""Drawn shapes: their areas against geometry, their symmetry, and that none looks like another."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from varedit.data.shapes import PAINT_NAMES, PAINTS, SHAPES, STENCIL_SIZE, Shape, stencil


def inside(shape: Shape) -> NDArray[np.float64]:
    return np.asarray(stencil(shape), dtype=np.float64) / 255


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("circle", math.pi / 4),
        ("ring", math.pi * (0.5**2 - 0.23**2)),
        ("square", 0.88**2),
        ("triangle", 0.92 / 2),
        ("diamond", 2 * 0.38 * 0.5),
        ("cross", 1 - 4 * 0.33**2),
        ("star", 10 * 0.52 * 0.21 * math.sin(math.pi / 5) / 2),  # ten triangles at the centre
        ("heart", 180 * math.pi / 34**2),  # the curve encloses 180 pi
    ],
)
def test_a_shape_covers_its_share_of_the_square(shape: Shape, area: float) -> None:
    assert inside(shape).shape == (STENCIL_SIZE, STENCIL_SIZE)
    assert inside(shape).mean() == pytest.approx(area, abs=0.012)  # a pixel of the outline all around


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_its_own_mirror_image_and_nearly_fills_the_square(shape: Shape) -> None:
    drawn = inside(shape)
    assert np.abs(drawn - drawn[:, ::-1]).mean() < 0.01
    rows, columns = np.nonzero(drawn)
    assert max(np.ptp(rows), np.ptp(columns)) >= 0.85 * STENCIL_SIZE


def test_shapes_that_have_an_up_are_the_right_way_round() -> None:
    assert centre_row("triangle") > 0.52 * STENCIL_SIZE
    assert centre_row("heart") < 0.48 * STENCIL_SIZE


def centre_row(shape: Shape) -> float:
    return float(np.average(np.arange(STENCIL_SIZE), weights=inside(shape).sum(axis=1)))


def test_a_ring_is_hollow_and_a_circle_is_not() -> None:
    middle = STENCIL_SIZE // 2
    assert inside("ring")[middle, middle] == 0
    assert inside("circle")[middle, middle] == 1


def test_shapes_and_paints_can_be_told_apart() -> None:
    for number, first in enumerate(SHAPES):
        for second in SHAPES[:number]:
            assert np.abs(inside(first) - inside(second)).mean() > 0.06
    colours = np.array([PAINTS[name] for name in PAINT_NAMES], dtype=float)
    distances = np.abs(colours[:, None] - colours).mean(axis=2)
    assert distances[~np.eye(len(colours), dtype=bool)].min() > 20
    assert_array_equal(colours[PAINT_NAMES.index("red")], [214, 34, 38])
