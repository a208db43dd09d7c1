"""Bitwise self-correction: bits of the target are flipped on the way, and later scales learn to mend them.

Spec "Training". The model meets its own kind of errors in training: inputs and labels of later scales follow the
flipped bits, the label of a scale is the true bit of a residual that holds the earlier errors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from varedit.scales import ScaleSchedule


def draw_flips(
    batch: int, channels: int, grids: ScaleSchedule, strength: float, generator: torch.Generator
) -> list[Tensor]:
    """Bits to flip at each scale: K tensors (B, d, h_k, w_k) bool on the CPU.

    The flip probability of a scale is drawn for the whole batch from 0, 0.01, .. up to ``strength``, ends included.
    """
    flips = []
    for height, width in grids:
        share = int(torch.randint(0, round(100 * strength) + 1, (), generator=generator)) / 100
        flips.append(torch.rand(batch, channels, height, width, generator=generator) < share)
    return flips
