"""Objects standing on a background: what is in the picture, and the picture of it.

Positions and sizes are shares, (0, 0) the top left corner; a size is the longest side of an object over the shorter
side of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from varedit.data.adjustments import Bytes
from varedit.data.places import CELLS, Region
from varedit.data.things import Thing

# Two objects may come as near as this share of the distance at which their boxes would touch.
CLOSEST = 0.78


@dataclass(frozen=True)
class Placed:
    """A thing somewhere in the picture."""

    thing: Thing
    x: float
    y: float
    size: float

    def at(self, region: Region) -> Placed:
        """The same thing in the middle of a cell."""
        x, y = CELLS[region]
        return replace(self, x=x, y=y)

    def cover(self, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """How far the thing covers each pixel of a picture, (H, W) uint8, where nothing stands before it."""
        white = np.zeros((*size_hw, 1), np.float32)
        part, sprite = _overlap(white, self)
        part[:] = 255 * sprite[..., 3:]
        covered: NDArray[np.uint8] = (white[..., 0] + 0.5).astype(np.uint8)
        return covered

    def slack(self, size_hw: tuple[int, int]) -> float:
        """The thing's size over the longest side of what it covers: a star does not fill its square."""
        covered = self.cover(size_hw) > 127
        longest = max(int(covered.any(axis=axis).sum()) for axis in (0, 1))
        return self.size * min(size_hw) / max(longest, 1)

    def is_clear_of(self, other: Placed) -> bool:
        """Whether the two stand apart."""
        distance = max(abs(self.x - other.x), abs(self.y - other.y))
        return distance >= CLOSEST * (self.size + other.size) / 2


@dataclass(frozen=True, eq=False)
class Composition:
    """A background (H, W, 3) uint8 and what stands on it, the first thing at the back.

    The last one, in front, is the ``subject``: what an edit of the composition is about.
    """

    background: Bytes
    things: tuple[Placed, ...]

    def rendered(self) -> Bytes:
        """The picture, (H, W, 3) uint8."""
        canvas = self.background.astype(np.float32)
        for placed in self.things:
            _paste(canvas, placed)
        pixels: Bytes = (canvas + 0.5).astype(np.uint8)
        return pixels

    @property
    def subject(self) -> Placed:
        """The last thing; there must be one."""
        return self.things[-1]

    def without_subject(self) -> Composition:
        """All but the last thing."""
        return replace(self, things=self.things[:-1])

    def without(self, index: int) -> Composition:
        """One thing less."""
        return replace(self, things=(*self.things[:index], *self.things[index + 1 :]))

    def with_thing(self, index: int, placed: Placed) -> Composition:
        """One thing exchanged."""
        return replace(self, things=(*self.things[:index], placed, *self.things[index + 1 :]))

    def plus(self, placed: Placed) -> Composition:
        """One more thing, in front."""
        return replace(self, things=(*self.things, placed))

    def is_free(self, placed: Placed) -> bool:
        """Whether a thing would stand apart from all that are there."""
        return all(placed.is_clear_of(other) for other in self.things)


def _paste(canvas: NDArray[np.float32], placed: Placed) -> None:
    """Blend a thing into (H, W, 3), cut off at the edges."""
    part, sprite = _overlap(canvas, placed)
    part += sprite[..., 3:] * (sprite[..., :3] - part)


def _overlap(canvas: NDArray[np.float32], placed: Placed) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The part of (H, W, C) that a thing covers, as a view, and the part of its sprite (h, w, 4) that lies there."""
    height, width = canvas.shape[:2]
    sprite = placed.thing.sprite(max(2, round(placed.size * min(height, width))))
    top = round(placed.y * height - sprite.shape[0] / 2)
    left = round(placed.x * width - sprite.shape[1] / 2)
    rows, columns = slice(max(top, 0), top + sprite.shape[0]), slice(max(left, 0), left + sprite.shape[1])
    part = canvas[rows, columns]
    return part, sprite[rows.start - top :, columns.start - left :][: part.shape[0], : part.shape[1]]
