"""One editing example with its exact truth, and what a family of scenes has to offer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from varedit.data.adjustments import Bytes

Family = Literal["adjustment", "colour", "object"]
FAMILIES: tuple[Family, ...] = ("adjustment", "colour", "object")


SPRITE_SIDE = 24  # pixels of the squares in which new things are kept; in pictures of 64 they are up to 27 large


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a target shows a thing over all else: one of its source once more, as it is, or a new one.

    Attributes:
        scale: its size there, over that of the thing that the instruction speaks of, as far as one sees it; of a new
            thing that takes no other's place, over the picture's shorter side.
        centre: x and y of its middle, as shares of the picture's sides; None where that is the place of the thing that
            the instruction speaks of.
        sprite: what is new, in a square of its size, (SPRITE_SIDE, SPRITE_SIDE, 4) uint8 RGBA; None for the source's
            own thing.
    """

    scale: float = 1.0
    centre: tuple[float, float] | None = None
    sprite: Bytes | None = None

    @property
    def numbers(self) -> tuple[float, ...]:
        """Six: is it the source's, is it new, the logarithm of the scale, has it a place of its own, and that place."""
        is_new, has_place = self.sprite is not None, self.centre is not None
        return (1.0 - is_new, float(is_new), math.log(self.scale), float(has_place), *(self.centre or (0.0, 0.0)))


NOWHERE = (0.0,) * 6  # the numbers where a target shows no thing over all else


@dataclass(frozen=True, eq=False)
class Scene:
    """One editing example.

    Attributes:
        source, target: uint8 sRGB, (H, W, 3), of the same size.
        category: the kind of edit, such as "brighter" or "remove"; "nothing" where the instruction asks for no change.
        photograph: stem of the file that the source was cut from; empty where it was cut from none.
        wrong: makes pictures (H, W, 3) that a model might make instead of the target, at least seven; none of them
            equals source or target. It draws from the generator that it is given.
        thing: (H, W) uint8, how far each pixel of the source belongs to the thing that the instruction speaks of; None
            where it speaks of none that is there.
        is_taken: whether the thing is gone from where it was, and what was behind it shows.
        placement: where the target shows that thing once more, or a new one; None where it shows none.
        squares: how many flat squares along its shorter side the target is made of, where it is a mosaic; else None.
    """

    source: Bytes
    instruction: str
    target: Bytes
    family: Family
    category: str
    photograph: str
    wrong: Callable[[np.random.Generator], list[Bytes]]
    thing: Bytes | None = None
    is_taken: bool = False
    placement: Placement | None = None
    squares: int | None = None

    @property
    def placement_numbers(self) -> tuple[float, ...]:
        """Seven: whether the thing is taken away, and the numbers of the placement."""
        return (float(self.is_taken), *(NOWHERE if self.placement is None else self.placement.numbers))

    @property
    def is_of_the_whole_picture(self) -> bool:
        """Whether the instruction speaks of all of the picture, also of what happens to stay as it was."""
        return self.family == "adjustment" and self.category not in ("local", "nothing")

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(H, W): 255 where the edit may change the source, 0 where it must not.

        All of the picture, where the instruction speaks of that; else the pixels that the true edit changes by at least
        one level of one channel.
        """
        changed = (self.source != self.target).any(axis=2) | self.is_of_the_whole_picture
        return np.where(changed, np.uint8(255), np.uint8(0))


class SceneFamily(Protocol):
    """One family of edits: everything about a scene follows from the generator."""

    def scene(self, random: np.random.Generator, size_hw: tuple[int, int]) -> Scene:
        """A random scene of this family, (H, W) pixels in size."""
        ...


def distinct(pictures: list[Bytes], *others: Bytes, at_most: int) -> list[Bytes]:
    """The first ``at_most`` of the pictures that differ visibly from the others and from each other."""
    kept: list[Bytes] = []
    for picture in pictures:
        if len(kept) == at_most:
            break
        if all(_differ(picture, other) for other in (*others, *kept)):
            kept.append(picture)
    return kept


def _differ(a: Bytes, b: Bytes) -> bool:
    """Whether one pixel in 200 differs by more than 4 levels."""
    far = (np.abs(a.astype(np.int16) - b) > 4).any(axis=2)
    return float(far.mean()) > 0.005
