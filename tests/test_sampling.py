"""From logits to bits: guidance, temperature, filters and draws, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.tiny import random
from varedit.errors import UsageError
from varedit.sampling import BatchSampler, SamplingSettings, draw_uniforms, filtered_probability, guide, likelier

LOGITS = (2, 5, 3, 2)  # B, L, d, the outcomes of a bit


def sampler(*settings: SamplingSettings, scales: int = 3) -> BatchSampler:
    return BatchSampler.of(settings, scales, "cpu")


def odds(probability: float) -> Tensor:
    """Logits (1, 1, 1, 2) of one bit that is 1 with a probability."""
    return torch.tensor([0.0, math.log(probability / (1 - probability))], dtype=torch.float64).view(1, 1, 1, 2)


def filtered(probability: float, top_p: float) -> float:
    return filtered_probability(odds(probability), torch.tensor(top_p, dtype=torch.float64)).item()


def test_guidance_zero_one_and_two():
    conditional, unconditional = random(*LOGITS, seed=0), random(*LOGITS, seed=1)
    assert torch.equal(guide(conditional, unconditional, 0.0), unconditional)
    assert torch.equal(guide(conditional, unconditional, 1.0), conditional)
    assert_close(guide(conditional, unconditional, 2.0), 2 * conditional - unconditional)


def test_guidance_by_hand():
    settings = SamplingSettings(guidance=2.0, temperature=0.5)
    one = sampler(settings, scales=1).guided(torch.tensor(3.0).view(1, 1, 1, 1), torch.tensor(1.0).view(1, 1, 1, 1), 0)
    assert one.item() == 10.0  # 2 * 3 / 0.5 - 1 / 0.5


def test_each_item_and_scale_has_its_own_guidance_and_temperature():
    conditional, unconditional = random(*LOGITS, seed=0), random(*LOGITS, seed=1)
    both = sampler(
        SamplingSettings(guidance=[3.0, 1.0, 0.0], temperature=[0.5, 2.0, 4.0]),
        SamplingSettings(guidance=2.0, temperature=0.25),
    )
    expected = [
        ((3 * conditional[0] - 2 * unconditional[0]) / 0.5, (2 * conditional[1] - unconditional[1]) / 0.25),
        (conditional[0] / 2, (2 * conditional[1] - unconditional[1]) / 0.25),
        (unconditional[0] / 4, (2 * conditional[1] - unconditional[1]) / 0.25),
    ]
    for scale, items in enumerate(expected):
        assert_close(both.guided(conditional, unconditional, scale), torch.stack(items))


def test_without_a_second_branch_temperature_alone_counts():
    conditional = random(*LOGITS, seed=0)
    one = SamplingSettings(guidance=1.0, temperature=[1.0, 0.5, 4.0])
    assert torch.equal(sampler(one, one).guided(conditional, None, 1), conditional / 0.5)


@pytest.mark.parametrize(
    "probability, top_p, expected",
    [
        (0.02, 0.97, 0.0),
        (0.04, 0.97, 0.04),
        (0.96, 0.97, 0.96),
        (0.98, 0.97, 1.0),
        (0.02, 1.0, 0.02),
        (0.4, 0.5, 0.0),
        (0.6, 0.5, 1.0),
        (0.4, 0.2, 0.0),  # the likelier outcome stays even where both are rare
        (0.6, 0.2, 1.0),
    ],
)
def test_a_rare_outcome_is_never_drawn_and_the_likelier_one_always_stays(probability, top_p, expected):
    assert filtered(probability, top_p) == pytest.approx(expected)


@given(st.floats(-30, 30), st.floats(0.001, 1.0))
def test_top_p_is_the_released_rule_over_two_outcomes(logit: float, top_p: float):
    logits = torch.tensor([0.0, logit])
    rarer, commoner = sorted(probabilities := logits.softmax(0).tolist())
    if abs(rarer - (1 - top_p)) < 1e-6 or abs(logit) < 1e-6:
        return  # float error decides
    kept = [p if p > 1 - top_p or p == commoner else 0.0 for p in probabilities]
    assert filtered_probability(logits, torch.tensor(top_p)).item() == pytest.approx(kept[1] / sum(kept), abs=1e-6)


def test_greedy_and_top_k_of_one_take_the_likelier_outcome_whatever_the_number():
    logits = random(3, 5, 4, 2, seed=0)
    mixed = sampler(SamplingSettings(greedy=True), SamplingSettings(top_k=1), SamplingSettings(top_k=900))
    bits = [mixed.bits(logits, torch.full((3, 5, 4), level)) for level in (0.0, 0.9999)]
    expected = logits.argmax(dim=-1).bool()
    for drawn in bits:
        assert torch.equal(drawn[:2], expected[:2])
    assert bits[0][2].all() and not bits[1][2].any()


def test_equal_logits_give_bit_zero():
    assert not likelier(torch.ones(2, 3, 2)).any()


def test_top_p_is_each_items_own_and_zero_is_off():
    logits = odds(0.02).float().expand(3, 1, 1, 2)
    mixed = sampler(SamplingSettings(top_p=0.97), SamplingSettings(top_p=0.0), SamplingSettings())
    assert mixed.bits(logits, torch.full((3, 1, 1), 0.01)).flatten().tolist() == [False, True, True]


def test_bits_are_drawn_as_often_as_their_probability_says():
    draws = draw_uniforms([torch.Generator().manual_seed(0)], [20_000], 1)[0]
    for probability in (0.1, 0.5, 0.8):
        logits = odds(probability).float().expand(1, 20_000, 1, 2)
        share = sampler(SamplingSettings()).bits(logits, draws).float().mean().item()
        assert share == pytest.approx(probability, abs=0.012)  # four standard deviations


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_draws_do_not_depend_on_neighbours():
    lengths = [1, 4, 6]
    together = draw_uniforms(generators(3, 4, 5), lengths, 7)
    for item, seed in enumerate((3, 4, 5)):
        alone = draw_uniforms(generators(seed), lengths, 7)
        for one, three in zip(alone, together, strict=True):
            assert torch.equal(one[0], three[item])
    assert [tuple(scale.shape) for scale in together] == [(3, 1, 7), (3, 4, 7), (3, 6, 7)]
    assert not torch.equal(together[1][0], together[1][1])


def test_a_longer_schedule_starts_with_the_same_draws():
    short, long = draw_uniforms(generators(3), [1, 4], 7), draw_uniforms(generators(3), [1, 4, 6], 7)
    assert all(torch.equal(one, other) for one, other in zip(short, long, strict=False))


@pytest.mark.parametrize(
    "settings",
    [
        {"guidance": -0.1},
        {"guidance": 101.0},
        {"guidance": math.nan},
        {"guidance": [3.0, math.inf]},
        {"guidance": True},
        {"temperature": 0.0},
        {"temperature": [0.5, -1.0]},
        {"temperature": 1000.0},
        {"top_p": 1.1},
        {"top_p": -0.1},
        {"top_p": math.nan},
        {"top_k": 0},
        {"top_k": True},
    ],
)
def test_a_number_out_of_range_is_told_by_name(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        SamplingSettings(**settings)


def test_a_list_has_one_number_per_scale():
    settings = SamplingSettings(guidance=[1.0, 2.0], temperature=0.5)
    assert settings.per_scale(2) == [(1.0, 0.5), (2.0, 0.5)]
    with pytest.raises(UsageError, match="guidance has 2 values; this model has 3 scales"):
        settings.per_scale(3)
    with pytest.raises(UsageError, match="temperature has 2 values"):
        SamplingSettings(temperature=[1.0, 2.0]).per_scale(3)
