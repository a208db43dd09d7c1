"""Decoding a large picture in horizontal strips, with the same result as in one piece.

Layer by layer: each convolution runs over strips of rows with one more row on either side, so no strip shows a seam.
Group norm needs statistics of the whole picture; they are gathered over all strips before the first one is normalised.
What a residual block holds of the whole picture is what is between its convolutions and its result; what comes from a
coarser level is enlarged anew for each strip, which costs a convolution or two more and saves the largest tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.autoencoder import Autoencoder, Decoder, Level, ResidualBlock, Upsample, one_by_one
from varedit.config import AutoencoderConfig

WHOLE_BYTES = 2**31  # what decoding may need beside the weights before it goes by strips
STRIP_PIXELS = 2**16  # of one strip, at its own level


def decode(autoencoder: Autoencoder, features: Tensor) -> Tensor:
    """What ``autoencoder.decode`` gives, item by item, and in strips where an item would need too much memory."""
    weight = autoencoder.decoder.conv_in.weight
    pixels = features[0, 0].numel() * autoencoder.config.downscale**2
    if _whole_bytes(autoencoder.config, pixels, weight.itemsize) <= WHOLE_BYTES:
        return one_by_one(autoencoder.decode, features)
    decoder = autoencoder.decoder
    return one_by_one(lambda item: decode_in_strips(decoder, item), features.to(weight.dtype)).float().clamp(-1, 1)


def decode_in_strips(decoder: Decoder, features: Tensor) -> Tensor:
    """What ``decoder(features)`` gives, (B, d, H, W) -> (B, 3, h, w), in less memory; features in its compute type."""
    x = Rows.of(cast(Tensor, decoder.middle(decoder.conv_in(features))))
    for level in decoder.levels[::-1]:
        x = _level(cast(Level, level), x)
    last = x.normed(decoder.norm_out).mapped(F.silu).convolved(decoder.conv_out)
    pixels = F.pixel_shuffle(last.whole(), decoder.stem_patch)
    return pixels if decoder.linear is None else pixels + cast(Tensor, decoder.linear(features))


def decoding_bytes(config: AutoencoderConfig, pixels: int, bytes_per_value: int) -> int:
    """About what `decode` needs beside the weights for a picture of so many pixels.

    In strips, a pixel of the finest level holds a residual block's result and what is between its convolutions, and
    four pixels share one of the level below. A strip holds four rows of channels, in float32, of the widest block that
    there is at the finest level.
    """
    whole = _whole_bytes(config, pixels, bytes_per_value)
    if whole <= WHOLE_BYTES:
        return whole
    finest, below = (config.base_channels * multiplier for multiplier in (*config.channel_multipliers, 0)[:2])
    kept = bytes_per_value * (2 * finest + below / 4) * pixels / config.stem_patch**2
    return int(kept) + 4 * 4 * max(finest, below) * STRIP_PIXELS


def _whole_bytes(config: AutoencoderConfig, pixels: int, bytes_per_value: int) -> int:
    """In one piece: a block's input, its normalised copy and the convolution's result, at the finest level.

    The first block there still has the width of the level below.
    """
    channels = config.base_channels * max(config.channel_multipliers[:2])
    return 3 * bytes_per_value * channels * pixels // config.stem_patch**2


@dataclass(frozen=True)
class Rows:
    """A picture (B, C, height, width) that need not exist as a whole.

    Attributes:
        read: gives rows [start, end) of it, (B, C, end - start, width).
        height, width: of the whole.
        tensor: the whole, where it does exist.
    """

    read: Callable[[int, int], Tensor]
    height: int
    width: int
    tensor: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor) -> Rows:
        """Rows of a tensor that does exist."""
        return cls(lambda start, end: x[:, :, start:end], x.shape[2], x.shape[3], x)

    def strips(self) -> Iterator[tuple[int, int]]:
        """The rows of each strip."""
        step = max(1, STRIP_PIXELS // self.width)
        for start in range(0, self.height, step):
            yield start, min(start + step, self.height)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """What a function of single positions makes of it."""
        return Rows(lambda start, end: change(self.read(start, end)), self.height, self.width)

    def convolved(self, conv: nn.Conv2d) -> Rows:
        """What a 3x3 convolution makes of it."""

        def read(start: int, end: int) -> Tensor:
            above, below = min(start, 1), min(self.height - end, 1)
            window = F.pad(self.read(start - above, end + below), (0, 0, 1 - above, 1 - below))
            return F.conv2d(window, conv.weight, conv.bias, padding=(0, 1))

        return Rows(read, self.height, self.width)

    def doubled(self) -> Rows:
        """The nearest neighbour at twice the resolution."""

        def read(start: int, end: int) -> Tensor:
            first = start // 2
            large = F.interpolate(self.read(first, (end + 1) // 2), scale_factor=2.0, mode="nearest")
            return large[:, :, start - 2 * first : end - 2 * first]

        return Rows(read, 2 * self.height, 2 * self.width)

    def normed(self, norm: nn.Module) -> Rows:
        """What a norm makes of it; reads all of it once where the norm has statistics of the whole."""
        return self.mapped(self._with_statistics(norm) if isinstance(norm, nn.GroupNorm) else norm)

    def whole(self) -> Tensor:
        """All rows, (B, C, height, width)."""
        whole: Tensor | None = None
        for start, end in self.strips():
            strip = self.read(start, end)
            if whole is None:
                size = (*strip.shape[:2], self.height, self.width)
                whole = torch.empty(size, dtype=strip.dtype, device=strip.device, memory_format=_layout_of(strip))
            whole[:, :, start:end] = strip
        assert whole is not None, "a picture has rows"
        return whole

    def _with_statistics(self, norm: nn.GroupNorm) -> Callable[[Tensor], Tensor]:
        """The norm as a scale and a shift of each channel, from the mean and variance of the groups' every number."""
        counts, means, squares = [], [], []
        for start, end in self.strips():
            values = self.read(start, end).float().unflatten(1, (norm.num_groups, -1)).flatten(2)  # (B, groups, n)
            variance, mean = torch.var_mean(values, dim=2, correction=0)
            counts.append(values.shape[2])
            means.append(mean)
            squares.append(variance)
        share = torch.tensor(counts, device=means[0].device).view(-1, 1, 1) / sum(counts)
        each = torch.stack(means)  # (strips, B, groups)
        mean = (share * each).sum(dim=0)
        variance = (share * (torch.stack(squares) + (each - mean).square())).sum(dim=0)
        width = norm.num_channels // norm.num_groups
        spread = torch.rsqrt(variance + norm.eps).repeat_interleave(width, dim=1)  # (B, C)
        scale = spread * norm.weight.float()
        shift = norm.bias.float() - mean.repeat_interleave(width, dim=1) * scale
        return lambda x: torch.addcmul(shift[..., None, None], x.float(), scale[..., None, None]).to(x.dtype)


def _level(level: Level, x: Rows) -> Rows:
    for block in level.blocks:
        x = _residual(cast(ResidualBlock, block), x)
    return x.doubled().convolved(level.resample.conv) if isinstance(level.resample, Upsample) else x


def _residual(block: ResidualBlock, x: Rows) -> Rows:
    between = Rows.of(x.normed(block.norm1).mapped(F.silu).convolved(block.conv1).whole())
    result = between.normed(block.norm2).mapped(F.silu).convolved(block.conv2)
    if x.tensor is not None and isinstance(block.shortcut, nn.Identity):
        for start, end in x.strips():
            x.tensor[:, :, start:end] += result.read(start, end)  # in place: nothing reads x any more
        return x
    total = Rows(lambda *rows: block.shortcut(x.read(*rows)) + result.read(*rows), x.height, x.width)
    return Rows.of(total.whole())


def _layout_of(x: Tensor) -> torch.memory_format:
    is_last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format
