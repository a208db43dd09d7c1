"""The adversarial part of the autoencoder's training: a discriminator of patches and both sides of the hinge loss.

PatchGAN (1611.07004) as VQGAN (2012.09841) and the tokenizers after it use it. Both sides are terms of one loss with
one optimiser: the generator's term sees the discriminator's weights as constants, the discriminator's term sees the
reconstructions as constants, so neither moves the other's weights.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

DOWNSAMPLINGS = 3
SMALLEST_SIDE = 3 * 2**DOWNSAMPLINGS  # pixels; each of the two last convolutions takes one position off
SLOPE = 0.2
SPREAD = 0.02  # of the initial weights, as in PatchGAN
PULL_EPS = 1e-4  # as the next one, VQGAN's
LARGEST_BALANCE = 1e4


class PatchDiscriminator(nn.Module):
    """Three halvings and two more convolutions: a score for each patch of 70 x 70 pixels.

    Group norm instead of PatchGAN's batch norm: nothing is kept between steps, and a picture's scores do not depend
    on its neighbours in the batch.

    Args:
        base_channels: after the first convolution; doubled by each of the following ones but the last.
    """

    def __init__(self, base_channels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, base_channels, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        for number in range(1, DOWNSAMPLINGS + 1):
            width = base_channels * 2**number
            stride = 2 if number < DOWNSAMPLINGS else 1
            layers += [
                nn.Conv2d(width // 2, width, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(math.gcd(32, width), width),
                nn.LeakyReLU(SLOPE),
            ]
        layers.append(nn.Conv2d(width, 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=SPREAD)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, h, w) in [-1, 1], sides of at least `SMALLEST_SIDE` -> scores (B, 1, h', w'), high if real."""
        return cast(Tensor, self.layers(pixels))


def generator_term(discriminator: PatchDiscriminator, reconstructions: Tensor) -> Tensor:
    """Minus the mean score of the reconstructions; its gradient ends in them and leaves the discriminator alone."""
    constants = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    scores: Tensor = functional_call(discriminator, constants, (reconstructions,))
    return -scores.float().mean()


def discriminator_term(discriminator: PatchDiscriminator, pixels: Tensor, reconstructions: Tensor) -> Tensor:
    """Hinge loss: scores of real pixels should exceed 1, those of reconstructions fall below -1."""
    scores = discriminator(torch.cat((pixels, reconstructions.detach()))).float()
    real, reconstructed = scores.chunk(2)
    return (F.relu(1 - real).mean() + F.relu(1 + reconstructed).mean()) / 2


def balance(reconstruction: Tensor, adversarial: Tensor, last_weight: Tensor) -> Tensor:
    """What to multiply the adversarial term by to make it pull at the decoder's last weight as hard as the other one.

    VQGAN, equation 7; a constant, at most `LARGEST_BALANCE`.
    """
    pull, adversarial_pull = (
        torch.autograd.grad(term, last_weight, retain_graph=True)[0] for term in (reconstruction, adversarial)
    )
    factor: Tensor = pull.norm() / (adversarial_pull.norm() + PULL_EPS)
    return factor.clamp(max=LARGEST_BALANCE)
