"""Objects on a background: drawn pixel by pixel on a flat one, and which of them stand apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from varedit.data.compositions import Composition, Placed
from varedit.data.cutouts import Cutout
from varedit.data.shapes import PAINTS
from varedit.data.things import CutoutThing, DrawnShape

BACKGROUND = (90, 100, 110)


def flat(height: int = 20, width: int = 30) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array(BACKGROUND, np.uint8), (height, width, 3)).copy()


def plate(height: int, width: int, rgba: tuple[int, int, int, int]) -> CutoutThing:
    """A cut-out of one colour and opacity all over."""
    return CutoutThing(Cutout("plate", np.broadcast_to(np.array(rgba, np.uint8), (height, width, 4)).copy(), "plate"))


def test_a_thing_covers_the_pixels_around_its_centre_and_no_others() -> None:
    """0.4 of the shorter side are 8 pixels, the longest side of the plate."""
    picture = Composition(flat(), (Placed(plate(4, 8, (250, 10, 20, 255)), 0.5, 0.25, 0.4),)).rendered()
    expected = flat()
    expected[3:7, 11:19] = (250, 10, 20)
    assert_array_equal(picture, expected)


def test_a_thing_lets_the_background_through_as_far_as_it_is_transparent() -> None:
    picture = Composition(flat(), (Placed(plate(8, 4, (250, 10, 20, 51)), 0.5, 0.5, 0.4),)).rendered()
    assert_array_equal(picture[10, 15], [122, 82, 92])  # a fifth of the way
    assert_array_equal(picture[10, 12], BACKGROUND)


@pytest.mark.parametrize(("x", "y", "rows", "columns"), [(0, 0, (0, 2), (0, 4)), (1, 1, (18, 20), (26, 30))])
def test_a_thing_is_cut_off_at_the_edges(x: float, y: float, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    picture = Composition(flat(), (Placed(plate(4, 8, (1, 2, 3, 255)), x, y, 0.4),)).rendered()
    expected = flat()
    expected[slice(*rows), slice(*columns)] = (1, 2, 3)
    assert_array_equal(picture, expected)


def test_later_things_stand_in_front() -> None:
    back, front = plate(8, 8, (1, 2, 3, 255)), plate(4, 4, (7, 8, 9, 255))
    picture = Composition(flat(), (Placed(back, 0.5, 0.5, 0.4), Placed(front, 0.5, 0.5, 0.2))).rendered()
    assert_array_equal(picture[10, 15], [7, 8, 9])
    assert_array_equal(picture[7, 12], [1, 2, 3])


def test_a_shape_has_its_paint_inside_and_the_background_outside() -> None:
    picture = Composition(flat(), (Placed(DrawnShape("ring", "purple"), 0.5, 0.5, 0.8),)).rendered()
    assert_array_equal(picture[10, 15], BACKGROUND)  # the hole
    assert_array_equal(picture[10, 9], PAINTS["purple"])
    assert_array_equal(picture[2, 7], BACKGROUND)  # outside the circle, inside its square


def test_hidden_colours_of_transparent_pixels_leave_no_fringe() -> None:
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[..., 1] = 255  # hidden green
    rgba[4:12, 4:12] = (200, 0, 0, 255)
    black = np.zeros((20, 20, 3), np.uint8)
    placed = Placed(CutoutThing(Cutout("tile", rgba, "tile")), 0.5, 0.5, 0.35)  # 7 pixels: edges are blended
    assert Composition(black, (placed,)).rendered()[..., 1].max() == 0


def test_rendering_leaves_the_background_and_the_things_alone() -> None:
    background = flat()
    composition = Composition(background, (Placed(DrawnShape("star", "red"), 0.3, 0.6, 0.5),))
    first = composition.rendered()
    assert_array_equal(background, flat())
    assert_array_equal(composition.rendered(), first)


def test_a_sprite_cannot_be_changed() -> None:
    for thing in (DrawnShape("star", "red"), plate(4, 4, (1, 2, 3, 255))):
        with pytest.raises(ValueError, match="read-only"):
            thing.sprite(8)[0, 0] = 0


def test_things_are_added_exchanged_and_taken_away() -> None:
    a, b, c = (Placed(DrawnShape("circle", paint), 0.5, 0.5, 0.3) for paint in ("red", "blue", "green"))
    two = Composition(flat(), (a, b))
    assert two.subject == b
    assert two.plus(c).things == (a, b, c)
    assert two.without_subject().things == (a,)
    assert two.without(0).things == (b,)
    assert two.with_thing(0, c).things == (c, b)
    assert two.things == (a, b)


def test_things_stand_apart_from_0_78_of_where_their_boxes_touch() -> None:
    shape = DrawnShape("square", "red")
    there = Composition(flat(), (Placed(shape, 0.5, 0.5, 0.4),))
    assert not there.is_free(Placed(shape, 0.5, 0.76, 0.3))  # boxes touch at 0.35 and 0.78 of that is 0.273
    assert there.is_free(Placed(shape, 0.5, 0.774, 0.3))
    assert there.is_free(Placed(shape, 0.22, 0.6, 0.3))
    assert Composition(flat(), ()).is_free(Placed(shape, 0.5, 0.5, 0.4))


def test_a_placed_thing_moves_to_the_middle_of_a_cell() -> None:
    placed = Placed(DrawnShape("star", "red"), 0.1, 0.2, 0.3)
    moved = placed.at("bottom_left")
    assert (moved.x, moved.y, moved.size, moved.thing) == (0.22, 0.78, 0.3, placed.thing)
