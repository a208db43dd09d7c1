"""Means, maxima and energies over square windows of the last two axes, and smooth steps; on their input's device."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]
Numbers = TypeVar("Numbers", Array, Tensor)


def energy_of(difference: Tensor) -> Tensor:
    """Mean square over the channels of (3, h, w)."""
    return (difference * difference).mean(dim=0)


def evidence_of(energy: Tensor, radius: int) -> Tensor:
    """Sum of an (h, w) energy over nested windows: the near decides, the far speaks where the near is silent."""
    return box_mean(energy, radius) + 0.1 * box_mean(energy, 3 * radius) + 0.01 * energy.mean()


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over (2 radius + 1) squared windows of the last two axes, cut off at the borders; any radius, same cost.

    As two products with matrices of ones and zeros: more arithmetic than running sums, but the fastest kind.
    """
    down, across = (_within(n, radius, x) for n in x.shape[-2:])
    return down @ x @ across / (down.sum(dim=1, keepdim=True) * across.sum(dim=0))


def _within(n: int, radius: int, like: Tensor) -> Tensor:
    """(n, n): 1 where two places of an axis are at most the radius apart, else 0."""
    return like.new_ones(n, n).tril_(radius).triu_(-radius)


def quantile(values: Tensor, share: float) -> float:
    """The value that a share of all lie below, between the two nearest as numpy has it; without sorting them."""
    flat = values.flatten()
    place = share * (len(flat) - 1)
    below, above = (float(flat.kthvalue(rank + 1).values) for rank in (math.floor(place), math.ceil(place)))
    return below + (place - math.floor(place)) * (above - below)


def dilated(x: Tensor, radius: int) -> Tensor:
    """Maximum over (2 radius + 1) squared windows of the last two axes."""
    planes, side = x.reshape(1, -1, *x.shape[-2:]), 2 * radius + 1
    columns = F.max_pool2d(planes, (side, 1), 1, (radius, 0))
    return F.max_pool2d(columns, (1, side), 1, (0, radius)).reshape(x.shape)


def pooled(x: Tensor, factor: int) -> Tensor:
    """Mean over factor squared blocks; a rest at the far borders makes a smaller block."""
    return x if factor == 1 else F.avg_pool2d(x, factor, ceil_mode=True)


def resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """(C, h, w) bilinear, pixel areas aligned, to (C, *size)."""
    return F.interpolate(x[None], size, mode="bilinear")[0]


def smooth_step(x: Numbers, start: float, end: float) -> Numbers:
    """0 below start, 1 above end, smooth between (3t^2 - 2t^3)."""
    t: Numbers = ((x - start) / (end - start)).clip(0, 1)
    return t * t * (3 - 2 * t)


def ramp(x: float, start: float, end: float) -> float:
    """`smooth_step` of one number."""
    t = min(max((x - start) / (end - start), 0.0), 1.0)
    return t * t * (3 - 2 * t)
