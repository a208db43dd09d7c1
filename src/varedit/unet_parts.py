"""What U-Nets over pictures and words are made of, and how their probabilities become shares."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 4  # of channels that are normalised together; a width must be a multiple


class ToldBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, scaled and shifted by what was read; does nothing at first.

    Args:
        width: channels of the pictures.
        read: channels of what was read.
    """

    def __init__(self, width: int, read: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.told = nn.Linear(read, 2 * width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(cast(Tensor, self.conv2.bias))

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        """(B, width, h, w) and (B, read) -> (B, width, h, w)."""
        gain, shift = self.told(F.silu(read))[:, :, None, None].chunk(2, dim=1)
        told = F.silu(self.norm(x) * (1 + gain) + shift)
        return x + cast(Tensor, self.conv2(F.silu(self.conv1(told))))


def smooth_step(values: Tensor, ends: tuple[float, ...]) -> Tensor:
    """0 below the first end, 1 above the second, and between them a smooth rise."""
    low, high = ends
    share = ((values - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)
