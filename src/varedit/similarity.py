"""Structural similarity of two pictures, overall and place by place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from varedit.errors import UsageError

SSIM_SIDE = 11  # pixels, of the window
SSIM_SIGMA = 1.5  # pixels
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # for values in [0, 1]


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity (B,) of pictures (B, 3, h, w) in [-1, 1]: the mean of `ssim_map`."""
    return ssim_map(first, second).mean(dim=(1, 2, 3))


def ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity at the middle of every window (B, 3, h - 10, w - 10) of pictures (B, 3, h, w) in [-1, 1].

    Wang et al., 2004, over windows of 11 x 11 pixels with Gaussian weights (sigma 1.5) that lie wholly inside, of R, G
    and B in [0, 1] alike, computed in float64 on the CPU.

    Raises: UsageError where a side is shorter than the window.
    """
    if min(first.shape[-2:]) < SSIM_SIDE:
        height, width = first.shape[-2:]
        raise UsageError(f"SSIM needs pictures of at least {SSIM_SIDE} x {SSIM_SIDE} pixels, not {width} x {height}")
    # A variance here is the difference of two means that are far larger: in float32, flat places would be noise.
    first, second = ((pictures.cpu().double() + 1) / 2 for pictures in (first, second))
    mean_first, mean_second = _windowed(first), _windowed(second)
    variance_first = _windowed(first.square()) - mean_first.square()
    variance_second = _windowed(second.square()) - mean_second.square()
    covariance = _windowed(first * second) - mean_first * mean_second
    luminance = (2 * mean_first * mean_second + SSIM_C1) / (mean_first.square() + mean_second.square() + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_first + variance_second + SSIM_C2)
    return luminance * structure


def _windowed(values: Tensor) -> Tensor:
    """Gaussian means over all whole windows: (B, C, h, w) -> (B, C, h - 10, w - 10)."""
    offsets = torch.arange(SSIM_SIDE, device=values.device, dtype=values.dtype) - SSIM_SIDE // 2
    weights = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    weights = (weights / weights.sum()).expand(values.shape[1], 1, -1)
    columns = F.conv2d(values, weights[..., None], groups=values.shape[1])
    return F.conv2d(columns, weights[..., None, :], groups=values.shape[1])
