"""Pictures as flat squares. Knows nothing of models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from varedit.windows import Array

Pixels = NDArray[np.floating]


def pixelated(rgb: Pixels, squares: int) -> Pixels:
    """(H, W, channels) as flat squares, each the mean of its pixels: so many along the shorter side, about square."""
    height, width = rgb.shape[:2]
    counts = [max(1, round(squares * side / min(height, width))) for side in (height, width)]
    starts = [np.unique(np.arange(n) * side // n) for n, side in zip(counts, (height, width), strict=True)]
    sums = np.add.reduceat(np.add.reduceat(rgb, starts[0], axis=0), starts[1], axis=1)
    sizes = [np.diff(first, append=side) for first, side in zip(starts, (height, width), strict=True)]
    means: Pixels = (sums / (sizes[0][:, None] * sizes[1])[..., None]).astype(rgb.dtype)
    return means.repeat(sizes[0], axis=0).repeat(sizes[1], axis=1)


def make_mosaic(picture: NDArray[Any], change: NDArray[np.uint8], squares: int, limit: Array | None) -> None:
    """Make flat squares of an edited picture (H, W, 3), and note in (H, W) where, as `restore.Restored` has it.

    What a decoder drew has the model's few pixels, and soft edges; the colours of squares are right, and their edges
    follow from their number.

    Args:
        limit: (H, W) in [0, 1], where the edit is; None is everywhere.
    """
    share = np.ones(picture.shape[:2], np.float32) if limit is None else limit
    for k in range(picture.shape[2]):  # one by one: photographs are large
        own = picture[..., k].astype(np.float32)
        picture[..., k] = np.rint(own + share * (pixelated(own[..., None], squares)[..., 0] - own))
    np.maximum(change, np.ceil(255 * share).astype(np.uint8), out=change)
