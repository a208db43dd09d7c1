"""Affine colour maps: one for a whole picture, robustly fitted, and local ones for what it leaves.

A map is (3, 4): gains over the source's colour and, last, the offset of each channel. Colours are (3, h, w) in [-1, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from varedit.windows import Array, box_mean

IDENTITY: Array = np.eye(3, 4, dtype=np.float32)


def mapped_colours(colour_map: Array, colours: Array) -> Array:
    """Apply one (3, 4) map to (3, h, w), clipped."""
    mapped: Array = np.clip(np.tensordot(colour_map[:, :3], colours, 1) + colour_map[:, 3, None, None], -1, 1)
    return mapped


def robust_map(source: Array, result: Array, weight: Array, ridge: float, rounds: int = 8) -> Array:
    """Weighted least squares of result on (source, 1), ridged towards identity, as a (3, 4) map.

    Samples are averaged over 3x3 pixels first: noise in the source flattens slopes. Outliers fade (Geman and McClure
    weights on the median error). Where the map goes beyond the range and the result is as good as clipped, the result
    says nothing about slopes: such samples do not count.
    """
    step = max(1, min(source.shape[1:]) // 128)  # 128x128 samples are plenty for twelve numbers
    x, y = (box_mean(each, step)[:, ::step, ::step].reshape(3, -1).astype(np.float64) for each in (source, result))
    x = np.concatenate([x, np.ones_like(x[:1])])  # (4, n)
    start = weight[::step, ::step].reshape(-1).astype(np.float64)
    trust, penalty = np.tile(start, (3, 1)), ridge * np.diag([1, 1, 1, 1e-3])
    fitted = IDENTITY.astype(np.float64)
    for _ in range(rounds):
        for k in range(3):
            weighted = x * trust[k]
            pull = penalty * trust[k].sum()
            fitted[k] = np.linalg.solve(weighted @ x.T + pull, weighted @ y[k] + pull @ IDENTITY[k])
        straight = fitted @ x
        error = ((np.clip(straight, -1, 1) - y) ** 2).sum(axis=0)
        is_beyond = (np.abs(straight) > 1) & (straight * y > 0) & (np.abs(y) > 0.85)
        trust = start / (1 + error / (4 * _weighted_median(error, start) + 1e-4)) ** 2 * ~is_beyond + 1e-12
    return fitted.astype(np.float32)


def local_maps(source: Array, rest: Array, noise: float, *, radius: int, ridge: float, shrinkage: float) -> Array:
    """Local affine maps from source to what the global maps left over, both (3, h, w): (3, 4, h, w).

    The guided filter for a colour guide (He, Sun, Tang, "Guided Image Filtering", TPAMI 2013, eq. 19 to 21), applied
    to the photograph instead of the guide as in the fast form (He and Sun, 1505.00996). Where a window's map explains
    little more than noise would, it is faded out (Wiener gain).
    """
    mean_s, mean_e = box_mean(source, radius), box_mean(rest, radius)
    cov_ss = box_mean(source[:, None] * source, radius) - mean_s[:, None] * mean_s
    cov_es = box_mean(rest[:, None] * source, radius) - mean_e[:, None] * mean_s
    ridged = np.moveaxis(cov_ss, (0, 1), (-2, -1)) + np.eye(3, dtype=np.float32) * (ridge + noise)
    systems = (torch.from_numpy(each) for each in (ridged, np.moveaxis(cov_es, (0, 1), (-1, -2))))
    gains = np.moveaxis(torch.linalg.solve(*systems).numpy(), (-1, -2), (0, 1))  # from (h, w, source, rest)
    offsets = mean_e - (gains * mean_s).sum(axis=1)
    power = (mean_e**2).sum(axis=0) + (gains * cov_es).sum(axis=(0, 1))
    belief = np.clip(1 - 3 * noise * shrinkage / np.maximum(power, 1e-9), 0, 1)
    return box_mean(np.concatenate([gains, offsets[:, None]], axis=1) * belief, radius)


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
