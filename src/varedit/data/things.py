"""The things that stand in scenes: drawn shapes and cut-outs, how they look and are called, which are held out.

A thing is held out by what it is called: a cut-out by its noun (`splits.noun_split`), a shape together with its colour.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from varedit.data.cutouts import Cutout
from varedit.data.draws import one_of, shuffled
from varedit.data.shapes import PAINT_NAMES, PAINTS, SHAPES, PaintName, Shape, stencil
from varedit.data.splits import noun_split

CUTOUT_SHARE = 0.4  # of the things; the others are drawn shapes
HELD_OUT_PAIRS = 10  # one in so many pairs of shape and colour is kept out of training
_SPRITES_KEPT = 16  # a scene draws the same few things into its source, its target and its alternatives

Sprite = NDArray[np.float32]


@dataclass(frozen=True)
class DrawnShape:
    """A shape in a colour."""

    shape: Shape
    paint: PaintName

    @property
    def words(self) -> str:
        """What it is called, without article."""
        return f"{self.paint} {self.shape}"

    def sprite(self, side: int) -> Sprite:
        """(side, side, 4) RGBA, colours in bytes, alpha in [0, 1]; read-only."""
        return _shape_sprite(self, side)


@dataclass(frozen=True)
class CutoutThing:
    """An object cut out of a picture."""

    cutout: Cutout

    @property
    def words(self) -> str:
        """What it is called, without article."""
        return self.cutout.noun

    def sprite(self, side: int) -> Sprite:
        """As for `DrawnShape`, but (h, w, 4) with the longest of h and w equal to ``side``."""
        return _cutout_sprite(self, side)


Thing = DrawnShape | CutoutThing


def in_a_square(thing: Thing, side: int) -> NDArray[np.uint8]:
    """A thing in the middle of a square of its size, (side, side, 4) uint8 RGBA."""
    sprite = thing.sprite(side)
    (top, below), (left, right) = ((spare // 2, spare - spare // 2) for spare in (side - n for n in sprite.shape[:2]))
    square = np.pad(sprite * np.array([1, 1, 1, 255], np.float32), ((top, below), (left, right), (0, 0)))
    pixels: NDArray[np.uint8] = (square + 0.5).astype(np.uint8)
    return pixels


@lru_cache(maxsize=_SPRITES_KEPT)
def _shape_sprite(thing: DrawnShape, side: int) -> Sprite:
    sprite = np.empty((side, side, 4), np.float32)
    sprite[..., :3] = PAINTS[thing.paint]
    sprite[..., 3] = np.asarray(stencil(thing.shape).resize((side, side), Image.Resampling.BOX), np.float32) / 255
    sprite.setflags(write=False)
    return sprite


@lru_cache(maxsize=_SPRITES_KEPT)
def _cutout_sprite(thing: CutoutThing, side: int) -> Sprite:
    height, width = thing.cutout.rgba.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(thing.cutout.rgba).resize(size, Image.Resampling.BOX)  # weighted by alpha
    sprite = np.array(image, np.float32)
    sprite[..., 3] /= 255
    sprite.setflags(write=False)
    return sprite


class ThingSupply:
    """Random things, those of training apart from those that training never shows.

    Args:
        cutouts: things beside the drawn shapes; may be empty.
    """

    def __init__(self, cutouts: Sequence[Cutout]) -> None:
        self.cutouts = {noun: [each for each in cutouts if each.noun == noun] for noun in {c.noun for c in cutouts}}
        self.nouns = {
            held_out: sorted(noun for noun in self.cutouts if (noun_split(noun) == "held_out") == held_out)
            for held_out in (False, True)
        }

    def thing(self, random: np.random.Generator, *, held_out: bool, only_shapes: bool = False) -> Thing:
        """A random thing: one that training never shows if ``held_out``, else one of training."""
        nouns = self.nouns[held_out]
        if nouns and not only_shapes and random.random() < CUTOUT_SHARE:
            return CutoutThing(one_of(self.cutouts[one_of(nouns, random)], random))
        return one_of(SHAPES_OF[held_out], random)

    def other_than(self, names: Collection[str], random: np.random.Generator, *, held_out: bool) -> Thing:
        """As `thing`, but called none of the names, which are a few."""
        while (thing := self.thing(random, held_out=held_out)).words in names:
            pass
        return thing

    def others(self, thing: Thing, random: np.random.Generator, count: int) -> list[Thing]:
        """Things that are not this one: for a shape, the same in other colours and others in the same colour first."""
        others: list[Thing] = []
        if isinstance(thing, DrawnShape):
            paints = [paint for paint in shuffled(PAINT_NAMES, random) if paint != thing.paint]
            shapes = [shape for shape in shuffled(SHAPES, random) if shape != thing.shape]
            others += [replace(thing, paint=paint) for paint in paints[: count // 2]]
            others += [replace(thing, shape=shape) for shape in shapes[: count // 2]]
        while len(others) < count:
            others.append(self.other_than((thing.words,), random, held_out=False))
        return others


def paints_of(shape: Shape, *, held_out: bool) -> list[PaintName]:
    """The colours in which training shows a shape; with ``held_out`` those in which it never does."""
    return [thing.paint for thing in SHAPES_OF[held_out] if thing.shape == shape]


def is_held_out_pair(shape: Shape, paint: PaintName) -> bool:
    """Whether training never shows this shape in this colour; a hash of the names decides."""
    digest = hashlib.sha256(f"{paint} {shape}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_PAIRS == 0


SHAPES_OF: dict[bool, list[DrawnShape]] = {  # by whether they are held out
    held_out: [
        DrawnShape(shape, paint)
        for shape in SHAPES
        for paint in PAINT_NAMES
        if is_held_out_pair(shape, paint) == held_out
    ]
    for held_out in (False, True)
}
