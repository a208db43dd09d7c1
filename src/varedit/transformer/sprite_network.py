"""Pictures of things by their names: what is added to a source, or takes the place of something in it.

What a thing looks like does not depend on where it will stand, so it is learned once, from the words alone, and not
anew for every place and size, as tokens would have to.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

START = 6  # pixels along the side of the coarsest picture
WIDTHS = (64, 32, 16)  # channels of the pictures, each twice as large as the one before
SIDE = START * 2 ** (len(WIDTHS) - 1)


class SpriteNetwork(nn.Module):
    """Draws the new thing that an instruction names, in a square of its size.

    Args:
        read: channels of what is read of the instruction.
    """

    def __init__(self, read: int) -> None:
        super().__init__()
        self.start = nn.Linear(read, WIDTHS[0] * START**2)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 3, padding=1) for coarse, fine in pairwise(WIDTHS))
        self.last = nn.Conv2d(WIDTHS[-1], 4, 3, padding=1)

    def forward(self, read: Tensor) -> Tensor:
        """(B, read) -> (B, 4, SIDE, SIDE) float32: colours in [-1, 1], and the logit of its covering a pixel."""
        x = cast(Tensor, self.start(read)).unflatten(1, (WIDTHS[0], START, START))
        for up in self.up:
            x = F.pixel_shuffle(up(F.silu(x)), 2)
        colours, cover = cast(Tensor, self.last(F.silu(x))).float().split((3, 1), dim=1)
        return torch.cat((colours.tanh(), cover), dim=1)
