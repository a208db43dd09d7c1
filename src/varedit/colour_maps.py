"""Affine colour maps: one for a whole picture, robustly fitted, and local ones for what it leaves.

A map is (3, 4): gains over the source's colour and, last, the offset of each channel. Colours are (3, h, w) in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from varedit.windows import box_mean

IDENTITY = torch.eye(3, 4)


def mapped_colours(colour_map: Tensor, colours: Tensor) -> Tensor:
    """Apply one (3, 4) map to (3, h, w), clipped."""
    colour_map = colour_map.to(colours.device)
    mapped: Tensor = torch.tensordot(colour_map[:, :3], colours, 1) + colour_map[:, 3, None, None]
    return mapped.clip(-1, 1)


def robust_map(source: Tensor, result: Tensor, weight: Tensor | None, ridge: float, rounds: int = 8) -> Tensor:
    """Weighted least squares of result on (source, 1), ridged towards identity, as a (3, 4) map; None weighs all alike.

    Samples are averaged over 3x3 pixels first: noise in the source flattens slopes. Outliers fade (Geman and McClure
    weights on the median error). Where the map goes beyond the range and the result is as good as clipped, the result
    says nothing about slopes: such samples do not count.
    """
    step = max(1, min(source.shape[1:]) // 128)  # 128x128 samples are plenty for twelve numbers
    x, y = (box_mean(each, step)[:, ::step, ::step].reshape(3, -1).double() for each in (source, result))
    x = torch.cat((x, torch.ones_like(x[:1])))  # (4, n)
    start = torch.ones_like(x[0]) if weight is None else weight[::step, ::step].reshape(-1).double()
    identity = IDENTITY.to(x)
    trust, penalty = start.expand(3, -1), ridge * torch.diag(x.new_tensor([1, 1, 1, 1e-3]))
    fitted = identity
    for _ in range(rounds):
        weighted = x * trust[:, None]  # (3, 4, n), of each channel of the result
        pull = penalty * trust.sum(dim=1)[:, None, None]
        towards = (weighted @ y[..., None])[..., 0] + (pull @ identity[..., None])[..., 0]
        fitted = torch.linalg.solve(weighted @ x.T + pull, towards)
        straight = fitted @ x
        error = (straight.clip(-1, 1) - y).square().sum(dim=0)
        is_beyond = (straight.abs() > 1) & (straight * y > 0) & (y.abs() > 0.85)
        usual = error.median() if weight is None else _weighted_median(error, start)
        trust = start / (1 + error / (4 * usual + 1e-4)).square() * ~is_beyond + 1e-12
    return fitted.to(source.dtype)


def local_maps(source: Tensor, rest: Tensor, noise: float, *, radius: int, ridge: float, shrinkage: float) -> Tensor:
    """Local affine maps from source to what the global maps left over, both (3, h, w): (3, 4, h, w).

    The guided filter for a colour guide (He, Sun, Tang, "Guided Image Filtering", TPAMI 2013, eq. 19 to 21), applied
    to the photograph instead of the guide as in the fast form (He and Sun, 1505.00996). Where a window's map explains
    little more than noise would, it is faded out (Wiener gain).
    """
    mean_s, mean_e = box_mean(source, radius), box_mean(rest, radius)
    cov_ss = box_mean(source[:, None] * source, radius) - mean_s[:, None] * mean_s
    cov_es = box_mean(rest[:, None] * source, radius) - mean_e[:, None] * mean_s
    ridged = cov_ss.movedim((0, 1), (-2, -1)) + torch.eye(3, device=source.device) * (ridge + noise)
    gains = torch.linalg.solve(ridged, cov_es.movedim((0, 1), (-1, -2)))  # (h, w, source, rest)
    gains = gains.movedim((-1, -2), (0, 1))
    offsets = mean_e - (gains * mean_s).sum(dim=1)
    power = mean_e.square().sum(dim=0) + (gains * cov_es).sum(dim=(0, 1))
    belief = (1 - 3 * noise * shrinkage / power.clip(min=1e-9)).clip(0, 1)
    return box_mean(torch.cat((gains, offsets[:, None]), dim=1) * belief, radius)


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    order = values.argsort()
    total = weights[order].cumsum(0)
    return values[order][torch.searchsorted(total, total[-1:] / 2)]
