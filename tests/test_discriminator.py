"""The adversarial terms: whom they move, what they are worth, and how far a score sees."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.tiny import random, randomize
from varedit.training.discriminator import (
    SMALLEST_SIDE,
    PatchDiscriminator,
    balance,
    discriminator_term,
    generator_term,
)


@pytest.fixture
def discriminator() -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(base_channels=6)


class Scores(PatchDiscriminator):
    """A discriminator whose score of a place is its red, so that losses can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__(1)
        red = nn.Conv2d(3, 1, 1, bias=False)
        with torch.no_grad():
            red.weight.copy_(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))
        self.layers = nn.Sequential(red)


def test_the_generators_term_moves_the_reconstructions_and_not_the_discriminator(discriminator):
    reconstructions = random(2, 3, 24, 32, seed=1).requires_grad_()
    generator_term(discriminator, reconstructions).backward()
    assert reconstructions.grad is not None
    assert reconstructions.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in discriminator.parameters())


def test_the_discriminators_term_moves_every_weight_of_its_own_and_not_the_reconstructions(discriminator):
    randomize(discriminator, seed=0)
    with torch.no_grad():
        discriminator.layers[-1].weight.mul_(5)  # some scores lie beyond the hinge, or their bias would feel no pull
    reconstructions = random(2, 3, 24, 32, seed=1).requires_grad_()
    discriminator_term(discriminator, random(2, 3, 24, 32, seed=2), reconstructions).backward()
    assert reconstructions.grad is None
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_hinge_loss_by_hand():
    real, reconstructed = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    real[0, 0, 0] = torch.tensor([3.0, 0.5])  # losses 0 and 0.5
    reconstructed[0, 0, 0] = torch.tensor([-4.0, 0.25])  # losses 0 and 1.25
    assert discriminator_term(Scores(), real, reconstructed).item() == pytest.approx((0.25 + 0.625) / 2)
    assert generator_term(Scores(), reconstructed).item() == pytest.approx(1.875)


def test_a_discriminator_that_learns_tells_noise_from_flat_colour(discriminator):
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=3e-3)
    for step in range(30):
        noise, flat = random(2, 3, 24, 24, seed=step), random(2, 3, 1, 1, seed=step).expand(2, 3, 24, 24)
        optimizer.zero_grad()
        loss = discriminator_term(discriminator, noise, flat)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.4  # about 1 before the first step


def test_a_score_depends_on_its_own_picture_alone(discriminator):
    pictures = random(3, 3, 32, 24, seed=3)
    assert_close(discriminator(pictures)[1:2], discriminator(pictures[1:2]))


def test_there_is_a_score_for_the_smallest_picture_and_none_for_a_smaller_one(discriminator):
    assert discriminator(torch.zeros(1, 3, SMALLEST_SIDE, SMALLEST_SIDE)).shape == (1, 1, 1, 1)
    with pytest.raises(RuntimeError, match="can't be greater than actual input size"):
        discriminator(torch.zeros(1, 3, SMALLEST_SIDE, SMALLEST_SIDE - 1))


def test_a_score_sees_seventy_pixels(discriminator):
    pictures = torch.zeros(1, 3, 160, 160, requires_grad=True)
    norm_free = nn.Sequential(*(layer for layer in discriminator.layers if not isinstance(layer, nn.GroupNorm)))
    scores = norm_free(pictures)  # the norms look at the whole picture
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert pictures.grad is not None
    seen = pictures.grad.abs().sum(dim=(0, 1)) > 0
    assert int(seen.any(dim=0).sum()) == int(seen.any(dim=1).sum()) == 70


def test_the_balance_makes_both_pulls_at_the_last_weight_alike():
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    strong, weak = 30 * weight.square().sum(), 0.25 * weight.sum()
    factor = balance(strong, weak, weight)  # |(60, 120)| against |(0.25, 0.25)|
    assert factor.item() == pytest.approx(60 * math.sqrt(5) / (0.25 * math.sqrt(2) + 1e-4))
    assert not factor.requires_grad
    (strong + factor * weak).backward()  # the graph is still there


def test_the_balance_is_limited_where_the_discriminator_does_not_pull_at_all():
    weight = torch.tensor([1.0], requires_grad=True)
    assert balance(30 * weight.sum(), 0 * weight.sum(), weight).item() == 1e4
