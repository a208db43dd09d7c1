"""What was behind a thing that is taken away, as what is around it suggests."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.unet_parts import GROUPS

FOLD = 2  # pixels along the side of what the finest level sees as one
WIDTHS = (32, 64, 96)  # channels of the levels, each half as large as the one before
LEAST_KNOWN = 1e-4  # share of a square's pixels


class FillNetwork(nn.Module):
    """A U-Net that mends a smooth filling: where an edge runs into a hole it goes on, and what lies beside it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4 * FOLD**2, WIDTHS[0], 3, padding=1)
        self.before = nn.ModuleList(_Block(width) for width in WIDTHS)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(WIDTHS))
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairwise(WIDTHS))
        self.after = nn.ModuleList(_Block(width) for width in WIDTHS[:-1])
        self.mend = nn.Conv2d(WIDTHS[0], 3 * FOLD**2, 3, padding=1)
        self.begin_smoothly()

    @torch.no_grad()
    def begin_smoothly(self) -> None:
        """At first nothing is mended."""
        self.mend.weight.zero_()
        cast(Tensor, self.mend.bias).zero_()

    def forward(self, picture: Tensor, known: Tensor) -> Tensor:
        """A picture (B, 3, h, w) in [-1, 1] with its unknown parts filled; known (B, 1, h, w) in [0, 1]. Sides of 8."""
        smooth = smoothly_filled(picture, known)
        x = F.pixel_unshuffle(torch.cat((smooth, known), dim=1), FOLD)
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last))
        kept = []
        for block, down in zip(self.before, self.down, strict=False):
            kept.append(block(x))
            x = down(kept[-1])
        x = self.before[-1](x)
        for finer, up, block in reversed(list(zip(kept, self.up, self.after, strict=True))):
            x = block(finer + F.pixel_shuffle(up(x), 2))
        return smooth + (1 - known) * F.pixel_shuffle(self.mend(F.silu(x)), FOLD).to(smooth.dtype)


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(F.silu(self.conv1(F.silu(self.norm(x))))))


def smoothly_filled(picture: Tensor, known: Tensor) -> Tensor:
    """A picture (B, 3, h, w) whose unknown parts follow from the known ones, (B, 1, h, w) in [0, 1], around them.

    Colours are averaged over squares twice as large each time, until all is known, and brought back to what was not
    (pull and push; Gortler et al. 1996, "The Lumigraph").
    """
    if min(picture.shape[2:]) == 1:
        return picture
    weight = F.avg_pool2d(known, 2, ceil_mode=True)
    coarse = F.avg_pool2d(picture * known, 2, ceil_mode=True) / weight.clamp(LEAST_KNOWN)
    coarse = smoothly_filled(coarse, (4 * weight).clamp(max=1))
    finer = F.interpolate(coarse, size=picture.shape[2:], mode="bilinear")
    return torch.lerp(finer, picture, known)
