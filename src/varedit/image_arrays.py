"""Pictures that arrive as numbers: numpy arrays and tensors of any usual layout and range. Knows nothing of files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from varedit.errors import ImageError


def uint8_pixels(source: Any, name: str) -> NDArray[np.uint8]:
    """Return an array or tensor as (H, W) or (H, W, C) uint8.

    Args:
        source: (H, W), (H, W, C) or (C, H, W) with C of 1, 3 or 4; uint8 in 0..255 or floating point in 0..1. A tensor
            is known by what it can do, so that torch need not be imported.
        name: begins the message.

    Raises:
        ImageError: "invalid_image" for another type, shape or range, and for a shape that can be read in two ways.
    """
    if hasattr(source, "detach"):
        tensor = source.detach().cpu()
        source = (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # numpy has no bfloat16
    if not isinstance(source, np.ndarray):
        raise ImageError("invalid_image", f"{name} is a {type(source).__name__}, not a path, bytes, image or array.")
    pixels = np.ascontiguousarray(_channels_last(source, name))
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ImageError("invalid_image", f"{name} is an array of {pixels.dtype}; give uint8, or floats in 0..1.")
    if not (np.isfinite(pixels).all() and pixels.min(initial=0) >= 0 and pixels.max(initial=0) <= 1):
        raise ImageError("invalid_image", f"{name} is an array of floats that are not all finite and in 0..1.")
    levels: NDArray[np.uint8] = np.rint(pixels * 255).astype(np.uint8)
    return levels


def _channels_last(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """(H, W), (H, W, C) or (C, H, W) as (H, W) or (H, W, C of 3 or 4); a shape with two readings is refused."""
    if array.ndim == 2:
        return array
    readings = []
    if array.ndim == 3:
        for channels in ((3, 4), (1,)):  # (1, 500, 3) is a colour picture one pixel high, not 500x3 grey
            readings = [axis for axis in (0, 2) if array.shape[axis] in channels]
            if readings:
                break
    if len(readings) != 1:
        problem = "can be read in two ways" if readings else "is no picture"
        message = f"{name} is an array of shape {array.shape}, which {problem}; give (H, W, 3)."
        raise ImageError("invalid_image", message)
    hwc = np.moveaxis(array, readings[0], 2)
    return hwc[..., 0] if hwc.shape[2] == 1 else hwc
