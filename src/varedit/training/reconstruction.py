"""How good an autoencoder is: PSNR, SSIM and L1 of its reconstructions, and how well its bits are used, per scale."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from varedit.autoencoder import Autoencoder
from varedit.quantizer import MultiScaleQuantizer
from varedit.similarity import ssim

ALWAYS_SHARE = 0.01  # a channel whose bit is the rarer one in less than this share of places says nearly nothing
PICTURES_AT_ONCE = 64


@dataclass
class Reconstructions:
    """Scores of reconstructed pictures, gathered batch by batch.

    Attributes:
        squared: squared error of each picture, of values in [-1, 1].
        ssim, l1: of each picture, of values in [0, 1].
        bits: None before the first batch.
    """

    squared: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    l1: list[float] = field(default_factory=list)
    bits: BitCounts | None = None

    def add(self, autoencoder: Autoencoder, quantizer: MultiScaleQuantizer, pixels: Tensor) -> Tensor:
        """Count pictures (B, 3, h, w) in [-1, 1] in, and give their reconstructions back.

        All batches must have the quantiser's grids.
        """
        coded = quantizer.encode(autoencoder.encode(pixels).float())
        decoded = autoencoder.decode(coded.running[-1])
        self.squared += (decoded - pixels).square().mean(dim=(1, 2, 3)).tolist()
        self.ssim += ssim(decoded, pixels).tolist()
        self.l1 += ((decoded - pixels).abs().mean(dim=(1, 2, 3)) / 2).tolist()
        if self.bits is None:
            self.bits = BitCounts(len(coded.bits), quantizer.channels)
        self.bits.add(coded.bits)
        return decoded

    def report(self) -> dict[str, Any]:
        """Means, and the 5th percentiles of what should be high; bit usage per scale, coarse first."""
        assert self.bits is not None, "no picture was counted"
        psnrs = [psnr(error) for error in self.squared]
        return {
            "pictures": len(psnrs),
            "psnr": _rounded_mean(psnrs, 3),
            "psnr_5th_percentile": _percentile(psnrs),
            "psnr_of_mean_error": psnr(sum(self.squared) / len(self.squared)),
            "ssim": _rounded_mean(self.ssim, 4),
            "ssim_5th_percentile": _percentile(self.ssim),
            "l1": _rounded_mean(self.l1, 5),
            "scales": [vars(usage) for usage in self.bits.usage()],
        }


@dataclass(frozen=True)
class BitUsage:
    """How one scale uses its bits.

    Attributes:
        ones: share of ones, 0.5 where both values are used alike.
        entropy: bits, between 0 and 1: of one channel's bit, the mean over channels.
        constant_channels: how many channels have nearly always the same bit (`ALWAYS_SHARE`).
    """

    ones: float
    entropy: float
    constant_channels: int


class BitCounts:
    """Ones per scale and channel, over as many batches as one likes."""

    def __init__(self, num_scales: int, channels: int) -> None:
        self.ones = torch.zeros(num_scales, channels, dtype=torch.int64)
        self.positions = torch.zeros(num_scales, dtype=torch.int64)

    def add(self, bits: Iterable[Tensor]) -> None:
        """Count the bits of all scales, each (B, d, h_k, w_k) bool."""
        for scale, layer in enumerate(bits):
            self.ones[scale] += layer.sum(dim=(0, 2, 3)).cpu()
            self.positions[scale] += layer[:, 0].numel()

    def usage(self) -> list[BitUsage]:
        """Of every scale, coarse first."""
        shares = self.ones.double() / self.positions[:, None]  # (K, d)
        entropies = torch.special.entr(shares) + torch.special.entr(1 - shares)
        constant = torch.minimum(shares, 1 - shares) < ALWAYS_SHARE
        return [
            BitUsage(round(float(share.mean()), 4), round(float(entropy.mean()) / math.log(2), 4), int(rigid.sum()))
            for share, entropy, rigid in zip(shares, entropies, constant, strict=True)
        ]


@torch.no_grad()
def reconstruct_all(
    autoencoder: Autoencoder, quantizer: MultiScaleQuantizer, pixels: Tensor
) -> tuple[Tensor, Reconstructions]:
    """Reconstructions (N, 3, h, w) of pictures in [-1, 1] on the autoencoder's device, some at a time, and scores."""
    scores = Reconstructions()
    decoded = [scores.add(autoencoder, quantizer, some) for some in pixels.split(PICTURES_AT_ONCE)]
    return torch.cat(decoded), scores


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error over pixels in [-1, 1]."""
    return round(10 * math.log10(4 / max(squared_error, 1e-12)), 3)


def _rounded_mean(values: list[float], digits: int) -> float:
    return round(sum(values) / len(values), digits)


def _percentile(values: list[float]) -> float:
    return round(float(torch.tensor(values).quantile(0.05)), 4)
