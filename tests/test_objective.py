"""The editor's loss, the flips of self-correction and the entropy of bits, by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tests.tiny import SQUARE, WIDE, random
from varedit.scales import RELEASED_TEMPLATES, ScaleSchedule
from varedit.training.entropy import bsq_entropy
from varedit.training.objective import bit_loss, editor_loss, proposal_loss, token_weights
from varedit.training.self_correction import draw_flips


def test_the_loss_of_a_bit_is_the_cross_entropy_over_its_two_logits():
    logits, labels = random(2, 5, 3, 2, seed=0), random(2, 5, 3, seed=1) > 0
    expected = F.cross_entropy(logits.flatten(0, 2), labels.flatten().long(), reduction="none")
    assert_close(bit_loss(logits, labels).flatten(), expected)


def test_a_sure_and_wrong_bit_costs_its_margin():
    logits = torch.tensor([0.0, 40.0]).view(1, 1, 1, 2)
    assert bit_loss(logits, torch.tensor([[[False]]])).item() == pytest.approx(40)
    assert bit_loss(logits, torch.tensor([[[True]]])).item() == pytest.approx(0)


@pytest.mark.parametrize("kind", ["uniform", "by_scale"])
def test_weights_of_all_tokens_add_to_one(kind):
    released = [template.schedule for template in RELEASED_TEMPLATES.within("1M").templates]
    for schedule in (SQUARE, WIDE, *released):
        weights = token_weights(schedule, kind)
        assert len(weights) == schedule.num_tokens
        assert weights.double().sum().item() == pytest.approx(1, abs=1e-5)


def test_weights_by_hand():
    schedule = ScaleSchedule(((1, 1), (2, 2)))
    assert_close(token_weights(schedule, "uniform"), torch.full((5,), 0.2))
    assert_close(token_weights(schedule, "by_scale"), torch.tensor([2.0, 1, 1, 1, 1]) / 6)  # 1 to 1 / sqrt(4)


def test_a_scale_weighs_as_the_root_of_its_tokens():
    parts = token_weights(WIDE, "by_scale").split(list(WIDE.lengths))
    shares = torch.stack([part.sum() for part in parts])
    roots = torch.tensor(WIDE.lengths).sqrt()
    assert_close(shares, roots / roots.sum())


def test_the_loss_is_the_mean_over_items_of_weighted_sums():
    losses = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    weights = torch.tensor([0.5, 0.25, 0.25])
    assert editor_loss(losses, weights).item() == pytest.approx((1.75 + 4.75) / 2)


def flips(strength: float, seed: int, grids: ScaleSchedule = WIDE) -> list[torch.Tensor]:
    return draw_flips(2, 5, grids, strength, torch.Generator().manual_seed(seed))


def test_flips_stand_on_every_latent_grid_and_are_those_of_their_seed():
    first, again, other = flips(0.3, 1), flips(0.3, 1), flips(0.3, 2)
    assert [tuple(scale.shape[2:]) for scale in first] == list(WIDE)
    assert all(scale.shape[:2] == (2, 5) and scale.dtype == torch.bool for scale in first)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_no_strength_flips_nothing():
    assert not any(scale.any() for seed in range(5) for scale in flips(0.0, seed))


def test_the_share_of_flips_is_a_whole_percentage_of_each_scale_up_to_the_strength():
    grids = ScaleSchedule(((150, 150),) * 4)  # 225000 bits: the share shows within 0.2 percentage points
    shares = [scale.float().mean().item() for seed in range(12) for scale in flips(0.03, seed, grids)]
    nearest = {round(100 * share) for share in shares}
    assert nearest == {0, 1, 2, 3}  # both ends are drawn
    assert max(abs(100 * share - round(100 * share)) for share in shares) < 0.2


def test_undecided_bits_have_full_entropy():
    entropies = bsq_entropy(torch.zeros(4, 5, 7), 100.0)
    assert entropies.per_sample_entropy.item() == pytest.approx(7 * math.log(2), rel=1e-5)
    assert entropies.codebook_entropy.item() == pytest.approx(7 * math.log(2), rel=1e-5)
    assert_close(entropies.average_probability, torch.full((7, 2), 0.5))


def test_sure_bits_have_none_but_fill_the_codebook_where_both_values_occur():
    z = torch.tensor([[9.0, 9.0], [9.0, -9.0], [9.0, 9.0], [9.0, 9.0]])  # bit 1: always one; bit 2: one in four zero
    entropies = bsq_entropy(z, 100.0)
    assert entropies.per_sample_entropy.item() == pytest.approx(0, abs=1e-6)
    assert_close(entropies.average_probability, torch.tensor([[0.0, 1.0], [0.25, 0.75]]))
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert entropies.codebook_entropy.item() == pytest.approx(expected, rel=1e-5)


def test_the_probability_of_a_bit_by_hand():
    z = torch.tensor([[0.01, 0.0, 0.0, 0.0]])  # 4 bits, inverse temperature 50: 4 * 0.01 * 50 / 2 = 1
    zero = bsq_entropy(z, 50.0).average_probability[0, 0].item()
    assert zero == pytest.approx(1 / (1 + math.e))


def test_a_proposal_is_as_far_off_as_its_tokens_are_by_hand():
    difference = torch.zeros(1, 2, 2)
    proposed = torch.tensor([[[0.6, 0.8], [0.0, 0.0]]])  # one token off by a length of 1, one exact
    far = (1.0 / 2 / 0.5**2 + 1e-3) ** 0.5  # mean square over 2 channels, in units of the spread 0.5
    expected = (far + 1e-3**0.5) / 2
    assert proposal_loss(proposed, difference, torch.tensor(0.5)).item() == pytest.approx(expected, rel=1e-6)
