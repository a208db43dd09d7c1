"""The convolutional autoencoder: pixels in [-1, 1] to features (B, d, H, W), and back. No attention anywhere.

Spec "Autoencoder". Level i works at 1 / 2**i of the stem's resolution; index 0 is the finest in both halves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import AutoencoderConfig

NORM_EPS = 1e-6


class Autoencoder(nn.Module):
    """Encoder and decoder; quantising in between is `varedit.quantizer`'s task."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, h, w) in [-1, 1], RGB, sides a multiple of the downscale -> features (B, d, H, W)."""
        return cast(Tensor, self.encoder(pixels))

    def decode(self, features: Tensor) -> Tensor:
        """Features (B, d, H, W) -> pixels (B, 3, h, w), clamped to [-1, 1], float32."""
        weight = self.decoder.conv_in.weight
        return cast(Tensor, self.decoder(features.to(weight.dtype))).float().clamp(-1, 1)


def one_by_one(work: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What convolutions make of each item of a batch (B, C, h, w), in the layout in which they are fastest.

    Small pictures would be faster side by side, but then the last digits of each would depend on its neighbours.
    """
    made: Tensor | None = None
    for index, item in enumerate(x.split(1)):
        result = work(item if x.device.type == "mps" else item.contiguous(memory_format=torch.channels_last))
        if made is None:
            made = result.new_empty((len(x), *result.shape[1:]))
        made[index] = result[0]
    assert made is not None, "a batch has items"
    return made


class Encoder(nn.Module):
    """Stem, levels from fine to coarse, two middle blocks, projection to d channels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [config.base_channels * multiplier for multiplier in config.channel_multipliers]
        self.stem_patch = config.stem_patch
        self.conv_in = _conv3x3(3 * config.stem_patch**2, config.base_channels)
        self.levels = nn.ModuleList()
        for index, (previous, width) in enumerate(zip([config.base_channels, *widths], widths, strict=False)):
            resample = Downsample(width) if index + 1 < len(widths) else None
            self.levels.append(Level(previous, width, config.res_blocks_per_level, resample, config.norm))
        self.middle = nn.Sequential(*(ResidualBlock(widths[-1], widths[-1], config.norm) for _ in range(2)))
        self.norm_out = make_norm(widths[-1], config.norm)
        self.conv_out = _conv3x3(widths[-1], config.latent_channels)
        square = config.downscale
        self.linear = nn.Conv2d(3, config.latent_channels, square, stride=square) if config.linear_path else None

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv_in(F.pixel_unshuffle(pixels, self.stem_patch))
        for level in self.levels:
            x = level(x)
        features = self.conv_out(F.silu(self.norm_out(self.middle(x))))
        return cast(Tensor, features if self.linear is None else features + self.linear(pixels))


class Decoder(nn.Module):
    """Two middle blocks, levels from coarse to fine (one residual block more than the encoder's), projection to RGB."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [config.base_channels * multiplier for multiplier in config.channel_multipliers]
        self.stem_patch = config.stem_patch
        self.conv_in = _conv3x3(config.latent_channels, widths[-1])
        self.middle = nn.Sequential(*(ResidualBlock(widths[-1], widths[-1], config.norm) for _ in range(2)))
        self.levels = nn.ModuleList()
        for index, (width, coarser) in enumerate(zip(widths, [*widths[1:], widths[-1]], strict=True)):
            resample = Upsample(width) if index > 0 else None
            self.levels.append(Level(coarser, width, config.res_blocks_per_level + 1, resample, config.norm))
        self.norm_out = make_norm(widths[0], config.norm)
        self.conv_out = _conv3x3(widths[0], 3 * config.stem_patch**2)
        square = config.downscale
        self.linear = nn.ConvTranspose2d(config.latent_channels, 3, square, square) if config.linear_path else None

    def forward(self, features: Tensor) -> Tensor:
        x = self.middle(self.conv_in(features))
        for level in cast(Sequence[Level], self.levels[::-1]):
            x = level(x)
        pixels = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), self.stem_patch)
        return pixels if self.linear is None else pixels + self.linear(features)


class Level(nn.Module):
    """Residual blocks at one resolution, the first of which changes the width, then a change of resolution if any."""

    def __init__(self, width_in: int, width: int, num_blocks: int, resample: nn.Module | None, norm: str) -> None:
        super().__init__()
        inputs = [width_in] + [width] * (num_blocks - 1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels, width, norm) for channels in inputs))
        self.resample = resample if resample is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.resample(self.blocks(x)))


class ResidualBlock(nn.Module):
    """Two pre-normalised 3x3 convolutions beside a shortcut (1x1 where the width changes)."""

    def __init__(self, width_in: int, width: int, norm: str) -> None:
        super().__init__()
        self.norm1 = make_norm(width_in, norm)
        self.conv1 = _conv3x3(width_in, width)
        self.norm2 = make_norm(width, norm)
        self.conv2 = _conv3x3(width, width)
        self.shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return cast(Tensor, self.shortcut(x) + h)


class Downsample(nn.Module):
    """Half the resolution. Zeros are added at the right and bottom only, as the released weights need."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(F.pad(x, (0, 1, 0, 1))))


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv3x3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")))


class GroupNorm(nn.GroupNorm):
    """Group norm that, on CUDA, keeps to the layout of its input and uses the whole device.

    Torch's own takes one block of threads for each group, and gives its results plainly whatever it was given. Here the
    kernels of synchronised batch norm measure the channels and change them.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cuda" or len(x) > 1 or torch.is_grad_enabled():
            return super().forward(x)
        mean, spread = torch.batch_norm_stats(x, self.eps)  # (C,) float32 each; spread is 1 / deviation
        mean, spread = (each.unflatten(0, (self.num_groups, -1)) for each in (mean, spread))
        between, middle = torch.var_mean(mean, dim=1, correction=0, keepdim=True)
        of_group = torch.rsqrt(spread.pow(-2).mean(1, keepdim=True) + between)
        middle, of_group = (each.expand_as(mean).flatten() for each in (middle, of_group))
        return torch.batch_norm_elemt(x, self.weight, self.bias, middle, of_group, self.eps)


class PixelNorm(nn.Module):
    """Root mean square over the channels of one position, so that an edit here leaves the features elsewhere alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(dim=1, keepdim=True) + NORM_EPS).to(x.dtype)
        return x * scale * self.weight[:, None, None] + self.bias[:, None, None]


def make_norm(width: int, kind: str) -> nn.Module:
    """Group norm with 32 groups (24 where 32 does not divide the width), or "pixel" norm without spatial statistics."""
    if kind == "pixel":
        return PixelNorm(width)
    return GroupNorm(32 if width % 32 == 0 else 24, width, eps=NORM_EPS)


def _conv3x3(width_in: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, 3, padding=1)
