"""The autoencoder's parts by hand, and how far a change of its input reaches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.tiny import random, randomize
from varedit.autoencoder import Autoencoder, Downsample, PixelNorm, Upsample, make_norm
from varedit.config import AutoencoderConfig


def tiny_autoencoder(**options: object) -> Autoencoder:
    sizes = {"latent_channels": 5, "base_channels": 24, "channel_multipliers": (1, 2, 1), "res_blocks_per_level": 1}
    config = AutoencoderConfig.from_dict({**sizes, **options})
    autoencoder = Autoencoder(config).eval().requires_grad_(False)
    randomize(autoencoder, seed=0)
    return autoencoder


def reach(before: Tensor, after: Tensor) -> list[bool]:
    """Which columns of (1, C, H, W) differ."""
    return [bool(column) for column in ((after - before).abs().amax(dim=(0, 1, 2)) > 1e-5)]


def with_first_column_moved(x: Tensor) -> Tensor:
    moved = x.clone()
    moved[..., 0] += 0.5
    return moved


def test_pixel_norm_keeps_a_change_in_its_place():
    autoencoder = tiny_autoencoder(norm="pixel", base_channels=6)
    pixels = random(1, 3, 8, 160, seed=1).clamp(-1, 1)
    encoded = reach(autoencoder.encode(pixels), autoencoder.encode(with_first_column_moved(pixels)))
    # The last column that can know of column 0: 1 after the stem, 3 after the residual block (two convolutions), 1
    # after halving, 3, 1, 3 after the other levels, 7 after the two middle blocks, 8 after the projection.
    assert encoded[0] and not any(encoded[9:])
    features = random(1, 5, 2, 40, seed=2)
    decoded = reach(autoencoder.decode(features), autoencoder.decode(with_first_column_moved(features)))
    # 1, 5 after the middle, 9 after two residual blocks, 20 after doubling with a convolution, 24, 50, 54, 55.
    assert decoded[0] and not any(decoded[56:])


def test_group_norm_carries_a_change_everywhere():
    autoencoder = tiny_autoencoder()
    pixels = random(1, 3, 8, 160, seed=1).clamp(-1, 1)
    assert all(reach(autoencoder.encode(pixels), autoencoder.encode(with_first_column_moved(pixels))))


def test_pixel_norm_divides_by_the_root_mean_square_over_channels():
    norm = PixelNorm(3).requires_grad_(False)
    norm.weight.copy_(torch.tensor([1.0, 2.0, 4.0]))
    norm.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    x = torch.tensor([3.0, 0.0, -3.0]).view(1, 3, 1, 1)  # root mean square: the root of 6
    assert_close(norm(x).flatten(), torch.tensor([3 / 6**0.5, 1.0, -12 / 6**0.5]))


@pytest.mark.parametrize("width, groups", [(32, 32), (64, 32), (24, 24), (48, 24)])
def test_group_norm_has_32_groups_or_24(width, groups):
    norm = make_norm(width, "group")
    assert isinstance(norm, nn.GroupNorm)
    assert (norm.num_groups, norm.eps) == (groups, 1e-6)


def picking(conv: nn.Conv2d, row: int, column: int) -> None:
    """Let a convolution of one channel pass one of its nine inputs on."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
    conv.weight[0, 0, row, column] = 1.0


@torch.no_grad()
def test_downsampling_looks_right_and_down_and_pads_there():
    down = Downsample(1)
    x = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
    picking(down.conv, 0, 0)
    assert down(x).flatten().tolist() == [1, 3, 9, 11]
    picking(down.conv, 2, 2)
    assert down(x).flatten().tolist() == [11, 0, 0, 0]


@torch.no_grad()
def test_upsampling_repeats_each_position():
    up = Upsample(1)
    picking(up.conv, 1, 1)
    assert up(torch.tensor([[1.0, 2.0]]).view(1, 1, 1, 2)).view(2, 4).tolist() == [[1, 1, 2, 2]] * 2


@pytest.mark.parametrize("multipliers, stem_patch, downscale", [((1, 1, 1), 1, 4), ((1, 1), 2, 4), ((1,), 3, 3)])
def test_the_downscale_of_the_configuration_is_that_of_the_features(multipliers, stem_patch, downscale):
    autoencoder = tiny_autoencoder(channel_multipliers=multipliers, stem_patch=stem_patch)
    assert autoencoder.config.downscale == downscale
    features = autoencoder.encode(random(2, 3, 12, 24, seed=0))
    assert features.shape == (2, 5, 12 // downscale, 24 // downscale)
    assert autoencoder.decode(features).shape == (2, 3, 12, 24)


def test_decoded_pixels_are_clamped():
    autoencoder = tiny_autoencoder()
    features = 30 * random(1, 5, 3, 4, seed=0)
    raw = autoencoder.decoder(features)
    assert raw.abs().max() > 1
    assert torch.equal(autoencoder.decode(features), raw.clamp(-1, 1))


def test_an_item_of_a_batch_is_as_it_is_alone():
    autoencoder = tiny_autoencoder()
    pixels = random(3, 3, 8, 12, seed=0)
    features = autoencoder.encode(pixels)
    for item in range(3):
        assert_close(autoencoder.encode(pixels[item : item + 1]), features[item : item + 1], rtol=1e-4, atol=1e-5)
        alone = autoencoder.decode(features[item : item + 1])
        assert_close(alone, autoencoder.decode(features)[item : item + 1], rtol=1e-4, atol=1e-5)
