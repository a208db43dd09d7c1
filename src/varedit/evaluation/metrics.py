"""Metrics of two pictures that need no network, overall and in a part of the picture (spec "Evaluation", section 2).

Pictures are (H, W, 3) uint8 sRGB of one size; numbers are of values in [0, 1], over pixels and channels alike. A region
is (H, W) booleans; what a metric says of an empty region is None.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from varedit.similarity import SSIM_SIDE, ssim_map

Bytes = NDArray[np.uint8]
Region = NDArray[np.bool_]

IDENTICAL_PSNR = 100.0  # dB, in place of infinity, which would be the mean of every set that it is in


def l1(first: Bytes, second: Bytes, region: Region | None = None) -> float | None:
    """Mean absolute difference (as in MagicBrush's evaluation, 2306.10012)."""
    return _mean(np.abs(_difference(first, second)), region)


def l2(first: Bytes, second: Bytes, region: Region | None = None) -> float | None:
    """Mean squared difference (as in MagicBrush's evaluation, 2306.10012)."""
    return _mean(np.square(_difference(first, second)), region)


def psnr(first: Bytes, second: Bytes, region: Region | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB, of a peak of 1; equal pictures have `IDENTICAL_PSNR`."""
    error = l2(first, second, region)
    if error is None:
        return None
    return min(IDENTICAL_PSNR, -10 * math.log10(error)) if error > 0 else IDENTICAL_PSNR


def ssim(first: Bytes, second: Bytes, region: Region | None = None) -> float | None:
    """Structural similarity (Wang et al., 2004): Gaussian windows of 11 x 11, sigma 1.5, that lie inside the picture.

    In a region, the mean over the windows whose middle lies in it. None also for pictures smaller than a window.
    """
    if min(first.shape[:2]) < SSIM_SIDE:
        return None
    places = ssim_map(pixels(first)[None], pixels(second)[None])[0].permute(1, 2, 0).numpy()  # (H - 10, W - 10, 3)
    border = SSIM_SIDE // 2
    return _mean(places, None if region is None else region[border:-border, border:-border])


def blackened(picture: Bytes, region: Region) -> Bytes:
    """The picture in a region, and black around it."""
    return np.where(region[..., None], picture, np.uint8(0))


def pixels(picture: Bytes) -> Tensor:
    """(3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1


def _difference(first: Bytes, second: Bytes) -> NDArray[np.float64]:
    return (first.astype(np.float64) - second) / 255


def _mean(places: NDArray[np.float64], region: Region | None) -> float | None:
    """Mean over a region's places and their channels; None if it is empty."""
    if region is not None:
        places = places[region]
    return float(places.mean()) if places.size else None
