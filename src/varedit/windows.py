"""Means, maxima and energies over square windows of the last two axes, and smooth steps."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Array = NDArray[np.float32]


def energy_of(difference: Array) -> Array:
    """Mean square over the channels of (3, h, w)."""
    energy: Array = (difference * difference).mean(axis=0)
    return energy


def evidence_of(energy: Array, radius: int) -> Array:
    """Sum of an (h, w) energy over nested windows: the near decides, the far speaks where the near is silent."""
    evidence: Array = box_mean(energy, radius) + 0.1 * box_mean(energy, 3 * radius) + 0.01 * energy.mean()
    return evidence


def box_mean(x: Array, radius: int) -> Array:
    """Mean over (2 radius + 1) squared windows of the last two axes, cut off at the borders; any radius, same cost.

    As two products with matrices of ones and zeros: more arithmetic than running sums, but the fastest kind. By torch,
    whose threads are awake; numpy's would get into their way.
    """
    down, across = (_within(n, radius) for n in x.shape[-2:])
    sums = torch.from_numpy(down) @ torch.from_numpy(np.ascontiguousarray(x, np.float32)) @ torch.from_numpy(across)
    means: Array = sums.numpy() / (down.sum(axis=1)[:, None] * across.sum(axis=0))
    return means


def _within(n: int, radius: int) -> Array:
    """(n, n): 1 where two places of an axis are at most the radius apart, else 0."""
    places = np.arange(n)
    within: Array = (np.abs(places[:, None] - places) <= radius).astype(np.float32)
    return within


def dilated(x: Array, radius: int) -> Array:
    """Maximum over (2 radius + 1) squared windows of the last two axes."""
    planes, side = torch.from_numpy(np.ascontiguousarray(x)).reshape(1, -1, *x.shape[-2:]), 2 * radius + 1
    columns = F.max_pool2d(planes, (side, 1), 1, (radius, 0))
    dilated: Array = F.max_pool2d(columns, (1, side), 1, (0, radius)).reshape(x.shape).numpy()
    return dilated


def pooled(x: Array, factor: int) -> Array:
    """Mean over factor squared blocks; a rest at the far borders makes a smaller block."""
    if factor == 1:
        return x
    pooled: Array = F.avg_pool2d(torch.from_numpy(np.ascontiguousarray(x)), factor, ceil_mode=True).numpy()
    return pooled


def resized(x: Array, size: tuple[int, ...]) -> Array:
    """(C, h, w) bilinear, pixel areas aligned, to (C, *size)."""
    resized: Array = F.interpolate(torch.from_numpy(x)[None], size, mode="bilinear")[0].numpy()
    return resized


def smooth_step(x: Array, start: float, end: float) -> Array:
    """0 below start, 1 above end, smooth between (3t^2 - 2t^3)."""
    t = np.clip((x - np.float32(start)) / np.float32(end - start), 0, 1)
    smooth: Array = t * t * (3 - 2 * t)
    return smooth


def ramp(x: float, start: float, end: float) -> float:
    """`smooth_step` of one number."""
    return float(smooth_step(np.array([x], np.float32), start, end)[0])
