"""Named places of a picture: the words for them, and which pixels they hold.

A place is a soft mask over the picture, 1 inside and 0 outside, with a border of `BORDER` of the side in which it
falls linearly; an object that is put somewhere has its centre at the place's centre.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Region = Literal["left", "right", "top", "bottom", "centre", "top_left", "top_right", "bottom_left", "bottom_right"]
REGIONS: tuple[Region, ...] = get_args(Region)

BORDER = 0.08  # share of the side over which a region's border falls from 1 to 0

# Half a side each, but for the centre: its middle half in both directions. (left, right) and (top, bottom) in shares.
_ALL, _FIRST, _MIDDLE, _LAST = (-1.0, 2.0), (-1.0, 0.5), (0.25, 0.75), (0.5, 2.0)
_EXTENT: dict[Region, tuple[tuple[float, float], tuple[float, float]]] = {
    "left": (_FIRST, _ALL),
    "right": (_LAST, _ALL),
    "top": (_ALL, _FIRST),
    "bottom": (_ALL, _LAST),
    "centre": (_MIDDLE, _MIDDLE),
    "top_left": (_FIRST, _FIRST),
    "top_right": (_LAST, _FIRST),
    "bottom_left": (_FIRST, _LAST),
    "bottom_right": (_LAST, _LAST),
}

# Centres of the nine cells in which objects stand, in shares of the width and of the height.
CELLS: dict[Region, tuple[float, float]] = {
    "top_left": (0.22, 0.22),
    "top": (0.5, 0.22),
    "top_right": (0.78, 0.22),
    "left": (0.22, 0.5),
    "centre": (0.5, 0.5),
    "right": (0.78, 0.5),
    "bottom_left": (0.22, 0.78),
    "bottom": (0.5, 0.78),
    "bottom_right": (0.78, 0.78),
}


@lru_cache(maxsize=256)
def region_mask(region: Region, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, 1) float32 in [0, 1], read-only."""
    across, down = _EXTENT[region]
    mask = (_ramp(down, size_hw[0])[:, None] * _ramp(across, size_hw[1]))[..., None]
    mask.setflags(write=False)
    return mask


def _ramp(extent: tuple[float, float], side: int) -> NDArray[np.float32]:
    """1 between the ends, 0.5 at them, falling linearly over the border."""
    position = (np.arange(side, dtype=np.float32) + 0.5) / side
    inside = np.minimum(position - extent[0], extent[1] - position)
    return np.clip(inside / BORDER + 0.5, 0, 1).astype(np.float32)
