"""A batch of editing pairs as arrays, and what is known besides of pairs that are made and not found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from varedit.data.adjustments import Bytes


class TrueLayers(NamedTuple):
    """How the targets of a batch came about, pixel by pixel.

    Attributes:
        changed: (B, H, W) uint8, 255 where the edit may change the source, 0 where it must not.
        things: (B, H, W) uint8, how far each pixel of the source belongs to the thing that the instruction speaks of,
            0 to 255; nothing but 0 where it speaks of none that is there.
        placements: (B, 7) float32, see `scene.Scene.placement_numbers`.
        sprites: (B, h, w, 4) uint8 RGBA, the new things that are placed; nothing but 0 where there is none.
        squares: (B,) float32, how many squares the shorter side of a mosaic has; 0 where there is none.
    """

    changed: Bytes
    things: Bytes
    placements: NDArray[np.float32]
    sprites: Bytes
    squares: NDArray[np.float32]


class PairBatch(NamedTuple):
    """Pairs of one size, stacked: uint8 sRGB (B, H, W, 3) and B instructions.

    ``layers`` are known of pairs that are made, see `varedit.data.scenes`.
    """

    sources: Bytes
    instructions: list[str]
    targets: Bytes
    layers: TrueLayers | None = None
