"""Tells an edit from noise: where a decoded result differs from the decoded source on purpose.

A small editor redraws, slightly wrong, much that it should have copied. Beside one picture alone that is hard to tell
from a faint edit; this network has seen many results of its editor beside the truth. What it says limits the restored
change as a user's mask does (spec "Restoring the photograph's own resolution", step 5); the paper has nothing like it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import ChangeDetectorConfig

GROUPS = 4  # of channels that are normalised together; a width must be a multiple


class ChangeDetector(nn.Module):
    """A U-Net over both decoded pictures, level by level half as large, with one look at the whole picture."""

    def __init__(self, config: ChangeDetectorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.conv_in = nn.Conv2d(9, widths[0], 3, padding=1)
        self.before = nn.ModuleList(_Block(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths))
        self.whole = nn.Sequential(nn.Linear(2 * widths[-1], widths[-1]), nn.SiLU(), nn.Linear(widths[-1], widths[-1]))
        self.middle = nn.Sequential(_Block(widths[-1]), _Block(widths[-1]))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.after = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, source: Tensor, result: Tensor) -> Tensor:
        """Logits (B, 1, h, w) float32 of a change, of decoded pictures (B, 3, h, w) in [-1, 1]."""
        height, width = source.shape[2:]
        square = 2 ** len(self.down)
        x = torch.cat((source, result, 2 * (result - source)), dim=1)
        x = self.conv_in(F.pad(x, (0, -width % square, 0, -height % square), mode="replicate"))
        kept = []
        for block, down in zip(self.before, self.down, strict=False):
            kept.append(block(x))
            x = down(kept[-1])
        x = self.before[-1](x)
        x = x + self.whole(torch.cat((x.mean(dim=(2, 3)), x.amax(dim=(2, 3))), dim=1))[:, :, None, None]
        x = self.middle(x)
        for finer, up, block in reversed(list(zip(kept, self.up, self.after, strict=True))):
            x = block(finer + F.interpolate(up(x), scale_factor=2.0, mode="bilinear"))
        return cast(Tensor, self.head(x).float())[:, :, :height, :width]

    @torch.inference_mode()
    def change(self, source: Tensor, result: Tensor) -> Tensor:
        """How far the photograph may change, (B, 1, h, w) in [0, 1]; nowhere for what is surely noise.

        An edit of nearly the whole picture is one of all of it: a place that it changes little is no hole in it.
        """
        change = _smooth_step(torch.sigmoid(self(source, result)), self.config.certainty)
        is_whole = _smooth_step(change.mean(dim=(2, 3), keepdim=True), self.config.whole)
        return torch.maximum(change, is_whole)


def _smooth_step(values: Tensor, ends: tuple[float, ...]) -> Tensor:
    low, high = ends
    share = ((values - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; does nothing at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(cast(Tensor, self.conv2.bias))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(F.silu(self.conv1(F.silu(self.norm(x))))))
