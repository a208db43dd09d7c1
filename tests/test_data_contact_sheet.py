"""The contact sheet: each pair stands in its own cell, with its instruction below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from varedit.data.contact_sheet import CAPTION_LINES, GAP, LINE_HEIGHT, contact_sheet


@dataclass(frozen=True)
class Pair:
    source: NDArray[np.uint8]
    target: NDArray[np.uint8]
    instruction: str = "make it warmer"


def pictures(count: int, height: int, width: int) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def test_a_contact_sheet_shows_each_pair_in_its_cell() -> None:
    drawn = pictures(10, 12, 16)
    pairs = [Pair(drawn[2 * number], drawn[2 * number + 1]) for number in range(5)]
    sheet = contact_sheet(pairs, 2)
    cell_width, cell_height = 2 * 16 + 3 * GAP, 12 + 2 * GAP + CAPTION_LINES * LINE_HEIGHT
    assert sheet.size == (2 * cell_width, 3 * cell_height)
    pixels = np.asarray(sheet)
    x, y = cell_width + GAP, cell_height + GAP  # the fourth pair: second row, second column
    assert_array_equal(pixels[y : y + 12, x : x + 16], pairs[3].source)
    assert_array_equal(pixels[y : y + 12, x + 16 + GAP : x + 32 + GAP], pairs[3].target)
    caption = pixels[y + 12 : y + 12 + CAPTION_LINES * LINE_HEIGHT, x : x + 32]
    assert caption.min() < 100 and (pixels[2 * cell_height :, cell_width:] == 255).all()


def test_a_smaller_picture_stands_in_the_middle_of_its_place() -> None:
    [small], [large] = pictures(1, 4, 6), pictures(1, 12, 16)
    pixels = np.asarray(contact_sheet([Pair(small, large)], 1))
    assert_array_equal(pixels[GAP + 4 : GAP + 8, GAP + 5 : GAP + 11], small)
    assert_array_equal(pixels[GAP, GAP], pixels[GAP + 11, GAP + 15])  # the letterbox, neither picture nor paper
    assert not (pixels[GAP, GAP] == 255).all()
