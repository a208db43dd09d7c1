"""The linear code that small autoencoders start from, against what principal components must give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from varedit.autoencoder import Autoencoder
from varedit.config import AutoencoderConfig
from varedit.quantizer import MultiScaleQuantizer
from varedit.scales import ScaleSchedule
from varedit.training.linear_code import start_as_linear_code

SQUARE = 4  # pixels; a square has 48 numbers
GRIDS = ScaleSchedule(((1, 1), (3, 5), (3, 5), (3, 5)))


def linear_config(channels: int) -> AutoencoderConfig:
    """Squares of 4 pixels, and a linear path beside small convolutions."""
    return AutoencoderConfig(
        latent_channels=channels,
        base_channels=6,
        channel_multipliers=(1, 2),
        res_blocks_per_level=1,
        stem_patch=2,
        norm="pixel",
        linear_path=True,
        step_sizes=(1.0, 1.0, 0.5, 0.25),
    )


def started(channels: int, pixels: torch.Tensor, seed: int = 0) -> tuple[Autoencoder, MultiScaleQuantizer]:
    config = linear_config(channels)
    autoencoder = Autoencoder(config).eval()
    quantizer = MultiScaleQuantizer(GRIDS, channels, config.step_sizes)
    start_as_linear_code(autoencoder, pixels, quantizer, torch.Generator().manual_seed(seed))
    return autoencoder, quantizer


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """(40, 3, 12, 20), smooth and with colours of their own, around a mean that is not grey."""
    generator = torch.Generator().manual_seed(5)
    coarse = 0.5 * torch.rand(40, 3, 5, 7, generator=generator) - torch.tensor([0.4, 0.1, -0.2])[:, None, None]
    return F.interpolate(coarse, size=(12, 20), mode="bicubic").clamp(-1, 1)


@torch.no_grad()
def test_as_many_channels_as_numbers_lose_nothing(pixels: torch.Tensor):
    autoencoder, _ = started(3 * SQUARE**2, pixels)
    unseen = pixels.flip(3)
    mean = F.pixel_unshuffle(pixels, SQUARE).mean(dim=(0, 2, 3))
    by_channel = mean.unflatten(0, (3, -1)).mean(dim=1).repeat_interleave(SQUARE**2)
    offset = F.pixel_shuffle((by_channel - mean).view(1, -1, 1, 1).expand(1, -1, 3, 5), SQUARE)
    assert_close(autoencoder.decode(autoencoder.encode(unseen)), unseen + offset, atol=1e-4, rtol=0)


@torch.no_grad()
def test_few_channels_lose_what_the_smallest_components_hold(pixels: torch.Tensor):
    channels = 7
    autoencoder, _ = started(channels, pixels)
    squares = F.pixel_unshuffle(pixels, SQUARE).permute(0, 2, 3, 1).flatten(0, 2)
    lost = torch.linalg.svdvals(squares - squares.mean(dim=0))[channels:].square().sum() / squares.numel()
    decoded = autoencoder.decode(autoencoder.encode(pixels))
    means = squares.mean(dim=0).unflatten(0, (3, -1))
    offset = (means.mean(dim=1, keepdim=True) - means).square().mean()  # of the decoder's bias, one number a colour
    assert_close((decoded - pixels).square().mean(), lost + offset, rtol=1e-3, atol=1e-7)


@torch.no_grad()
def test_features_fit_the_quantiser_and_every_channel_carries_its_share(pixels: torch.Tensor):
    autoencoder, quantizer = started(24, pixels)
    features = autoencoder.encode(pixels)
    spreads = features.permute(1, 0, 2, 3).flatten(1).std(dim=1)
    assert spreads.max() < 4 * spreads.min()
    quantized = quantizer.encode(features).running[-1]
    assert (quantized - features).square().mean() < 0.1 * features.square().mean()


@torch.no_grad()
def test_the_length_is_the_one_that_reproduces_best(pixels: torch.Tensor):
    autoencoder, quantizer = started(24, pixels)
    features = autoencoder.encode(pixels)

    def error(factor: float) -> float:
        return float((quantizer.encode(features * factor).running[-1] / factor - features).square().mean())

    assert error(1.0) < min(error(0.3), error(3.0))


@torch.no_grad()
def test_another_seed_turns_the_code_and_keeps_its_pictures(pixels: torch.Tensor):
    (first, _), (second, _) = started(9, pixels, seed=1), started(9, pixels, seed=2)
    assert (first.encode(pixels) - second.encode(pixels)).abs().max() > 0.1
    assert_close(first.decode(first.encode(pixels)), second.decode(second.encode(pixels)), atol=1e-4, rtol=0)
