"""Which things scenes show: held-out ones only when asked for, and always enough others."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from varedit.data.cutouts import Cutout
from varedit.data.draws import one_of, shuffled
from varedit.data.shapes import PAINT_NAMES, SHAPES
from varedit.data.things import (
    SHAPES_OF,
    CutoutThing,
    DrawnShape,
    ThingSupply,
    in_a_square,
    is_held_out_pair,
    paints_of,
)

NOUNS = {"cat": False, "umbrella": False, "ice cream": True, "pear": True}  # whether they are held out
CUTOUTS = [Cutout(noun, np.zeros((2, 2, 4), np.uint8), f"{noun}-{n}") for noun in NOUNS for n in range(2)]


def test_the_held_out_pairs_never_change() -> None:
    """One in ten by the first eight bytes of `sha256sum`; training that had seen other pairs could not be compared."""
    assert {thing.words for thing in SHAPES_OF[True]} == {
        "blue circle",
        "yellow square",
        "purple square",
        "orange triangle",
        "turquoise triangle",
        "green star",
        "orange heart",
        "orange diamond",
        "white ring",
    }
    assert len(SHAPES_OF[False]) == len(SHAPES) * len(PAINT_NAMES) - 9
    assert all(is_held_out_pair(thing.shape, thing.paint) for thing in SHAPES_OF[True])


@pytest.mark.parametrize("held_out", [False, True])
def test_a_supply_gives_all_things_of_its_side_and_none_of_the_other(held_out: bool) -> None:
    random = np.random.default_rng(0)
    drawn = [ThingSupply(CUTOUTS).thing(random, held_out=held_out) for _ in range(1500)]
    nouns = [thing.words for thing in drawn if isinstance(thing, CutoutThing)]
    assert set(nouns) == {noun for noun in NOUNS if NOUNS[noun] == held_out}
    assert {thing for thing in drawn if isinstance(thing, DrawnShape)} == set(SHAPES_OF[held_out])
    assert len(nouns) / 1500 == pytest.approx(0.4, abs=0.05)
    assert len({thing.cutout.name for thing in drawn if isinstance(thing, CutoutThing)}) == 4


def test_a_supply_gives_shapes_where_no_others_are_wanted_or_there() -> None:
    random = np.random.default_rng(0)
    only = [ThingSupply(CUTOUTS).thing(random, held_out=True, only_shapes=True) for _ in range(50)]
    without = [ThingSupply(()).thing(random, held_out=False) for _ in range(50)]
    assert all(isinstance(thing, DrawnShape) for thing in only + without)


def test_a_thing_keeps_its_shape_in_a_square() -> None:
    wide = CutoutThing(Cutout("cat", np.full((4, 12, 4), (10, 20, 30, 255), np.uint8), "cat-1"))
    square = in_a_square(wide, 24)
    assert square.shape == (24, 24, 4) and square.dtype == np.uint8
    assert (square[8:16] == (10, 20, 30, 255)).all() and not square[:8].any() and not square[16:].any()
    ring = DrawnShape("ring", "red")
    assert_allclose(in_a_square(ring, 24)[..., 3], 255 * ring.sprite(24)[..., 3], atol=0.5)


def test_another_thing_has_none_of_the_names() -> None:
    random = np.random.default_rng(0)
    supply = ThingSupply([cutout for cutout in CUTOUTS if cutout.noun in ("cat", "umbrella")])
    names = ["cat", *(thing.words for thing in SHAPES_OF[False][:-1])]
    others = {supply.other_than(names, random, held_out=False).words for _ in range(20)}
    assert others <= {"umbrella", SHAPES_OF[False][-1].words}


def test_the_others_of_a_shape_are_in_other_colours_and_of_other_forms() -> None:
    star = DrawnShape("star", "blue")
    others = ThingSupply(CUTOUTS).others(star, np.random.default_rng(1), 5)
    assert len(others) == 5 and star not in others
    shapes = [thing for thing in others if isinstance(thing, DrawnShape)]
    assert [thing.shape for thing in shapes[:2]] == ["star", "star"]
    assert [thing.paint for thing in shapes[2:4]] == ["blue", "blue"]


def test_paints_of_a_shape_are_divided_between_training_and_held_out() -> None:
    assert paints_of("square", held_out=True) == ["yellow", "purple"]
    assert paints_of("cross", held_out=True) == []
    for shape in SHAPES:
        both = paints_of(shape, held_out=True) + paints_of(shape, held_out=False)
        assert sorted(both) == sorted(PAINT_NAMES)


def test_draws_reach_every_item_and_keep_all() -> None:
    random = np.random.default_rng(0)
    assert {one_of("abc", random) for _ in range(60)} == set("abc")
    orders = {tuple(shuffled("abc", random)) for _ in range(200)}
    assert len(orders) == 6 and all(sorted(order) == ["a", "b", "c"] for order in orders)
