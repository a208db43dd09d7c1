"""Multi-scale residual binary spherical quantisation, and the order in which latents become tokens.

Knows nothing of images or of the transformer. Spec "Quantiser"; paper section 3.1. Everything is float32: with less,
the smallest residuals change sign and bits change with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from varedit.scales import Grid, ScaleSchedule


@dataclass(frozen=True)
class MultiScaleBits:
    """What the residual loop makes of one batch of features, scale by scale (latent grids).

    Attributes:
        bits: K tensors (B, d, h_k, w_k) bool, the sign of the residual that each scale was given.
        running: K tensors (B, d, H, W), the sum of codes after each scale; the last one goes to the decoder.
    """

    bits: tuple[Tensor, ...]
    running: tuple[Tensor, ...]


@dataclass(frozen=True)
class MultiScaleQuantizer:
    """The residual loop over one schedule of latent grids.

    Args:
        grids: latent grids of scales 1..K (token grids times two where 2 x 2 latents are merged).
        channels: d, latent channels.
        step_sizes: lengths of the codes of scales 1..K, the last one for all further scales; 1 in the released models.
            A schedule that repeats its last grid with halved steps approximates the features bit by bit.
    """

    grids: ScaleSchedule
    channels: int
    step_sizes: tuple[float, ...] = (1.0,)

    def encode(self, features: Tensor, *, flips: Sequence[Tensor] | None = None) -> MultiScaleBits:
        """Quantise features (B, d, H, W) scale by scale.

        Args:
            features: (B, d, H, W) float32, H x W the last grid.
            flips: bits to flip per scale, (B, d, h_k, w_k) bool. Codes are made of the flipped bits, so that later
                scales see the error; the bits returned are the unflipped ones (bitwise self-correction, spec
                "Training").
        """
        running = torch.zeros_like(features)
        bits, sums = [], []
        for scale in range(len(self.grids)):
            wanted = self.residual(features, running, scale) > 0
            taken = wanted if flips is None else wanted ^ flips[scale]
            running = self.add(running, taken, scale)
            bits.append(wanted)
            sums.append(running)
        return MultiScaleBits(tuple(bits), tuple(sums))

    def decode(self, bits: Sequence[Tensor]) -> Tensor:
        """Sum the codes of the scales given, coarse first: features (B, d, H, W)."""
        height, width = self.grids.final
        running = torch.zeros(len(bits[0]), self.channels, height, width, device=bits[0].device)
        for scale, layer in enumerate(bits):
            running = self.add(running, layer, scale)
        return running

    def residual(self, features: Tensor, running: Tensor, scale: int) -> Tensor:
        """What is still missing at a scale: (B, d, h_k, w_k), area-averaged except at the last scale."""
        missing = features - running
        grid = self.grids.grids[scale]
        return missing if grid == self.grids.final else F.adaptive_avg_pool2d(missing, grid)

    def codes(self, bits: Tensor, scale: int) -> Tensor:
        """Bits (B, d, h, w) as vectors of the scale's length: plus or minus 1/sqrt(d) where that is 1."""
        step = self.step_sizes[min(scale, len(self.step_sizes) - 1)] / self.channels**0.5
        codes: Tensor = (bits.float() * 2 - 1) * step
        return codes

    def add(self, running: Tensor, bits: Tensor, scale: int) -> Tensor:
        """The running sum (B, d, H, W) with the codes of one more scale, brought up bilinearly."""
        return running + resize_bilinear(self.codes(bits, scale), self.grids.final)

    def step_input(self, running: Tensor, scale: int) -> Tensor:
        """The sum of the scales before ``scale`` on its grid: (B, d, h_k, w_k), bilinear even where it shrinks."""
        return resize_bilinear(running, self.grids.grids[scale])


def resize_bilinear(latents: Tensor, grid: Grid) -> Tensor:
    """Bilinear, corners not aligned, without antialiasing; the same tensor if the grid is already that one."""
    if latents.shape[-2:] == grid:
        return latents
    return F.interpolate(latents, size=grid, mode="bilinear", align_corners=False)


def latents_to_tokens(latents: Tensor, merge: int) -> Tensor:
    """(B, d, merge * h, merge * w) -> (B, h * w, d * merge**2), row-major.

    Latent channel c at (dy, dx) of its square becomes token channel c * merge**2 + dy * merge + dx.
    """
    return F.pixel_unshuffle(latents, merge).flatten(2).transpose(1, 2)


def tokens_to_latents(tokens: Tensor, grid: Grid, merge: int) -> Tensor:
    """The inverse of `latents_to_tokens`, for a token grid (h, w)."""
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, grid), merge)
