"""The network that edits the pixels of source tokens, one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from tests.test_linear_code import linear_config
from tests.tiny import random, randomize, tiny_config
from varedit.autoencoder import Autoencoder
from varedit.quantizer import latents_to_tokens
from varedit.training.initialisation import start_copy_path
from varedit.transformer.copy_path import CopyPath
from varedit.transformer.pixel_network import COLOUR_FEATURES, PAINTED, SQUARE, PixelNetwork, colour_features

PIXELS = SQUARE**2
HUES = {(1, 0, 0): 0, (1, 1, 0): 60, (0, 1, 0): 120, (0, 1, 1): 180, (0, 0, 1): 240, (1, 0, 1): 300}


@pytest.fixture
def network() -> PixelNetwork:
    network = PixelNetwork(tiny_config()).requires_grad_(False)
    randomize(network, seed=3)
    return network


def colours_of(network: PixelNetwork, source: Tensor) -> Tensor:
    """(B, S, pixels, 3)."""
    colours: Tensor = network.look(source).unflatten(-1, (3, PIXELS)).transpose(-1, -2)
    return colours


def without_place(network: PixelNetwork) -> None:
    """Nothing but colours and the instruction counts."""
    network.first.weight[:, COLOUR_FEATURES:] = 0
    network.told_here.weight.zero_()


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """States, the instruction and source tokens."""
    return random(2, 6, 24, seed=1), random(2, 24, seed=2), random(2, 6, tiny_config().token_bits, seed=4)


@pytest.mark.parametrize(("colour", "hue"), HUES.items())
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_a_hue_is_told_by_waves_around_its_circle(colour, hue, strength):
    features = colour_features(strength * torch.tensor(colour, dtype=torch.float32))
    expected = [wave(n * math.radians(hue)) for n in range(1, 6) for wave in (math.cos, math.sin)]
    assert_close(features[5:], torch.tensor(expected), rtol=0, atol=5e-3)
    assert features[3].item() == pytest.approx(strength)  # chroma
    assert features[4].item() == pytest.approx(strength * sum(colour) / 3)


def test_grey_has_no_hue_and_no_slope_that_is_not_finite():
    grey = torch.full((4, 3), 0.2, requires_grad=True)
    features = colour_features(grey)
    assert (features[:, 5:] == 0).all()
    features.square().sum().backward()
    assert grey.grad is not None and grey.grad.isfinite().all()


def test_tokens_are_edited_as_their_pixels_are(network):
    without_place(network)
    h, asked, source = inputs()
    colours = colours_of(network, source)
    edited = network.edited(colours.flatten(1, 2), asked).unflatten(1, colours.shape[1:3])
    expected = network.code((edited - colours).transpose(-1, -2).flatten(-2))
    assert_close(network(h, asked, source), expected, rtol=1e-4, atol=1e-4)


def test_every_pixel_is_edited_by_itself_and_as_the_text_tells(network):
    colours, asked = random(2, 9, 3, seed=5), inputs()[1]
    edited = network.edited(colours, asked)
    others = colours.clone()
    others[:, :8] = random(2, 8, 3, seed=6)
    assert torch.equal(network.edited(others, asked)[:, 8], edited[:, 8])
    assert (network.edited(colours, asked.flip(0)) - edited).abs().min() > 0


def change_states(network: PixelNetwork, h: Tensor) -> Tensor:
    """Which tokens' additions change with the state of token 2."""
    _, asked, source = inputs()
    other = h.clone()
    other[:, 2] = random(2, 24, seed=7)
    moved: Tensor = network(other, asked, source) - network(h, asked, source)
    return moved.abs().amax(dim=(0, 2)) > 1e-6


@pytest.mark.parametrize("silent", ["paint", "told_here"])
def test_a_tokens_state_paints_and_tells_its_own_pixels_and_no_others(network, silent):
    getattr(network, silent).weight.zero_()
    assert change_states(network, inputs()[0]).tolist() == [False, False, True, False, False, False]


def one_hot_layer(network: PixelNetwork, feature: int) -> None:
    """The first hidden number is one of the features of a pixel, and nothing else counts."""
    network.first.weight.zero_(), network.first.bias.zero_()
    network.first.weight[0, feature] = 1


def seen_in_first(network: PixelNetwork, run: Callable[[], object]) -> Tensor:
    seen: list[Tensor] = []
    handle = network.first.register_forward_hook(lambda module, given, found: seen.append(found[..., 0]))
    run()
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(("feature", "axis"), [(COLOUR_FEATURES, 0), (COLOUR_FEATURES + 1, 1)])
def test_pixels_know_where_in_their_token_they_lie(network, feature, axis):
    one_hot_layer(network, feature)
    place = seen_in_first(network, lambda: network(*inputs()))[0, 0].unflatten(0, (SQUARE, SQUARE))
    along = torch.linspace(-0.875, 0.875, 8)
    assert_close(place, (along[:, None] if axis == 0 else along).expand(8, 8))


def test_what_is_painted_comes_after_the_place(network):
    one_hot_layer(network, COLOUR_FEATURES + 2 + PAINTED - 1)
    h, asked, source = inputs()
    painted = seen_in_first(network, lambda: network(h, asked, source))
    assert_close(painted, network.paint(h)[..., -PIXELS:], rtol=1e-4, atol=1e-4)


def lossless_autoencoder() -> Autoencoder:
    """Encodes squares of 4 pixels as 48 numbers, turned by a random rotation, and does nothing else."""
    autoencoder = Autoencoder(linear_config(48)).eval().requires_grad_(False)
    encoder = autoencoder.encoder
    assert encoder.linear is not None and encoder.linear.bias is not None and encoder.conv_out.bias is not None
    encoder.conv_out.weight.zero_(), encoder.conv_out.bias.zero_()
    encoder.linear.weight.copy_(torch.linalg.qr(random(48, 48, seed=9))[0].unflatten(1, (3, 4, 4)))
    encoder.linear.bias.copy_(random(48, seed=10))
    return autoencoder


@pytest.mark.parametrize("merge", [1, 2])
def test_from_scratch_it_begins_with_the_colours_of_the_pixels_and_codes_their_changes(merge):
    """Of tokens of 4 pixels a side each pixel is seen as four; of tokens of 8 each as itself."""
    autoencoder, pictures, changed = lossless_autoencoder(), random(200, 3, 8, 16, seed=8), random(5, 3, 8, 16, seed=11)
    path = CopyPath(replace(tiny_config(source_proposal=True), token_bits=48 * merge**2)).requires_grad_(False)
    start_copy_path(path, autoencoder, pictures, merge)
    assert path.proposal is not None
    features, others = autoencoder.encode(pictures[:5]), autoencoder.encode(changed)
    assert path.spread.item() == pytest.approx(autoencoder.encode(pictures).std().item(), rel=1e-5)
    squares, theirs = (
        F.pixel_unshuffle(F.interpolate(each, scale_factor=2 // merge), SQUARE).flatten(2).transpose(1, 2)
        for each in (pictures[:5], changed)
    )
    network = path.proposal.pixels
    tokens, other_tokens = (latents_to_tokens(each, merge) for each in (features, others))
    assert_close(network.look(tokens), squares, rtol=0, atol=1e-3)
    assert_close(network.code(theirs - squares), other_tokens - tokens, rtol=0, atol=1e-3)
