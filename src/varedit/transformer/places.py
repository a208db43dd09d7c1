"""Where in the picture tokens or pixels lie, as waves that a linear layer can read."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from varedit.scales import Grid


def place_waves(grid: Grid, device: torch.device, waves: tuple[float, ...]) -> Tensor:
    """Of down, then of across: sines, then cosines, for the places of a grid (h, w): (h * w, 4 * number of waves).

    Args:
        waves: how many half waves go over the picture's height, and over its width.
    """
    axes = torch.meshgrid(*((torch.arange(n, device=device) + 0.5) / n for n in grid), indexing="ij")
    angles = torch.stack(axes, dim=-1).flatten(0, 1).unsqueeze(-1) * math.pi * torch.tensor(waves, device=device)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).flatten(1)
