"""Where an autoencoder with a linear path starts: the best linear code of its squares of pixels.

Principal components keep most of a square with few numbers; turned by a random rotation, every channel carries an equal
share of them, as the quantiser, whose steps are alike in all channels, wants it. The convolutions beside the linear
path start at zero and learn what a linear code cannot.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.autoencoder import Autoencoder
from varedit.quantizer import MultiScaleQuantizer

EMPHASIS = 0.65  # exponent of the components' spread: 0 equalises them all, 1 leaves them as they are
LENGTHS = (0.4, 0.6, 0.8, 1.0, 1.25, 1.6)  # mean lengths of a feature vector that are tried, in steps of size 1
SMALLEST_VARIANCE = 1e-6


@torch.no_grad()
def start_as_linear_code(
    autoencoder: Autoencoder, pixels: Tensor, quantizer: MultiScaleQuantizer, generator: torch.Generator
) -> None:
    """Set the linear paths to a code fitted to pictures, and the last convolutions to zero.

    Args:
        autoencoder: its config has `linear_path`.
        pixels: (B, 3, h, w) in [-1, 1], of the size of the quantiser's last grid.
        quantizer: the length of the features is the one that it reproduces best.
        generator: of the rotation.
    """
    channels, square = autoencoder.config.latent_channels, autoencoder.config.downscale
    squares = F.pixel_unshuffle(pixels, square).permute(0, 2, 3, 1).flatten(0, 2)  # (positions, 3 * square**2)
    mean = squares.mean(dim=0)
    variances, components = torch.linalg.eigh((squares - mean).T @ (squares - mean) / len(squares))
    variances = variances.flip(0)[:channels].clamp_min(SMALLEST_VARIANCE)
    components = components.flip(1)[:, :channels]
    rotation = torch.linalg.qr(torch.randn(len(variances), channels, generator=generator))[0]
    emphasis = variances ** ((EMPHASIS - 1) / 2)
    encoding = (components * emphasis) @ rotation  # (3 * square**2, d)
    decoding = rotation.T @ (components / emphasis).T  # (d, 3 * square**2)
    encoding, decoding = _best_length(encoding, decoding, squares - mean, pixels, quantizer)
    _set(autoencoder.encoder.linear, encoding.T, -mean @ encoding, square)
    _set(autoencoder.decoder.linear, decoding, mean.unflatten(0, (3, -1)).mean(dim=1), square)
    for last in (autoencoder.encoder.conv_out, autoencoder.decoder.conv_out):
        for parameter in last.parameters():
            parameter.zero_()


def _best_length(
    encoding: Tensor, decoding: Tensor, squares: Tensor, pixels: Tensor, quantizer: MultiScaleQuantizer
) -> tuple[Tensor, Tensor]:
    """The code scaled to the length at which quantised pictures come back best."""
    features = squares @ encoding
    unit = features.norm(dim=1).mean()
    height, width = quantizer.grids.final
    errors = {}
    for length in LENGTHS:
        scaled = (features * length / unit).unflatten(0, (len(pixels), height, width)).permute(0, 3, 1, 2)
        quantized = quantizer.encode(scaled).running[-1].permute(0, 2, 3, 1).flatten(0, 2) * unit / length
        errors[length] = float(F.mse_loss(quantized @ decoding, squares))
    best = min(errors, key=errors.__getitem__)
    return encoding * best / unit, decoding * unit / best


def _set(layer: nn.Module | None, weight: Tensor, bias: Tensor, square: int) -> None:
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d), "the autoencoder has no linear path"
    layer.weight.copy_(weight.unflatten(1, (3, square, square)))
    assert layer.bias is not None
    layer.bias.copy_(bias)
