"""The residual loop and the token order, against slow formulas and by round trips."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.tiny import SQUARE, WIDE, random
from varedit.quantizer import MultiScaleQuantizer, latents_to_tokens, resize_bilinear, tokens_to_latents
from varedit.scales import Grid, ScaleSchedule

CHANNELS = 5
seeds = st.integers(0, 10_000)
schedules = st.sampled_from([SQUARE, WIDE, ScaleSchedule(((1, 2), (3, 2))), ScaleSchedule(((4, 3),))])


def slow_area(latents: Tensor, grid: Grid) -> Tensor:
    """Mean over rows floor(i * H / h) up to ceil((i + 1) * H / h), and the same for columns."""
    height, width = latents.shape[-2:]
    result = torch.zeros(*latents.shape[:2], *grid)
    for i in range(grid[0]):
        for j in range(grid[1]):
            rows = slice(i * height // grid[0], math.ceil((i + 1) * height / grid[0]))
            columns = slice(j * width // grid[1], math.ceil((j + 1) * width / grid[1]))
            result[:, :, i, j] = latents[:, :, rows, columns].mean(dim=(2, 3))
    return result


def slow_bilinear(latents: Tensor, grid: Grid) -> Tensor:
    """Two neighbours along each axis around the centre of the new cell; beyond the edge, the edge."""
    for axis, count in ((2, grid[0]), (3, grid[1])):
        size = latents.shape[axis]
        cells = []
        for i in range(count):
            place = max((i + 0.5) * size / count - 0.5, 0.0)
            low = min(int(place), size - 1)
            share = place - low
            high = min(low + 1, size - 1)
            cells.append(latents.select(axis, low) * (1 - share) + latents.select(axis, high) * share)
        latents = torch.stack(cells, dim=axis)
    return latents


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (3, 2), (4, 6), (7, 9)])
def test_resizing_is_bilinear_without_antialiasing_up_and_down(grid):
    latents = random(2, CHANNELS, 4, 6, seed=0)
    assert_close(resize_bilinear(latents, grid), slow_bilinear(latents, grid))


def test_an_input_that_shrinks_takes_the_nearest_values_not_their_mean():
    quantizer = MultiScaleQuantizer(ScaleSchedule(((1, 1), (3, 3))), 1)
    running = torch.tensor([[0.0, 1, 2], [3, 40, 5], [6, 7, 8]]).view(1, 1, 3, 3)
    assert quantizer.step_input(running, 0).item() == 40.0  # the centre; the mean is 8


def test_a_residual_is_a_mean_over_the_area_except_at_the_last_scale():
    quantizer = MultiScaleQuantizer(WIDE, CHANNELS)
    features, running = random(2, CHANNELS, 4, 7, seed=1), random(2, CHANNELS, 4, 7, seed=2)
    for scale, grid in enumerate(WIDE):
        assert_close(quantizer.residual(features, running, scale), slow_area(features - running, grid))
    assert torch.equal(quantizer.residual(features, running, 3), features - running)


@given(schedules, seeds, st.sampled_from([(1.0,), (1.0, 0.7, 0.4)]))
def test_the_residual_loop_is_that_of_slow_formulas(schedule: ScaleSchedule, seed: int, steps: tuple[float, ...]):
    features = random(2, CHANNELS, *schedule.final, seed=seed)
    coded = MultiScaleQuantizer(schedule, CHANNELS, steps).encode(features)
    running = torch.zeros_like(features)
    for scale, grid in enumerate(schedule):
        wanted = slow_area(features - running, grid)
        sure = wanted.abs() > 1e-6  # elsewhere the two orders of adding may differ in sign
        assert torch.equal(coded.bits[scale][sure], wanted[sure] > 0)
        signs = torch.where(coded.bits[scale], 1.0, -1.0)
        size = [*steps, *[steps[-1]] * len(schedule)][scale]
        running = running + slow_bilinear(signs * size / math.sqrt(CHANNELS), schedule.final)
        assert_close(coded.running[scale], running)


def test_one_position_solved_by_hand():
    quantizer = MultiScaleQuantizer(ScaleSchedule(((1, 1), (1, 2))), 1)
    features = torch.tensor([3.0, -0.5]).view(1, 1, 1, 2)
    coded = quantizer.encode(features)
    # Mean 1.25: bit 1, code +1 everywhere. Left over: 2 and -1.5: bits 1 and 0, codes +1 and -1.
    assert coded.bits[0].flatten().tolist() == [True]
    assert coded.bits[1].flatten().tolist() == [True, False]
    assert coded.running[1].flatten().tolist() == [2.0, 0.0]


def test_zero_is_bit_zero():
    coded = MultiScaleQuantizer(ScaleSchedule(((1, 1),)), 3).encode(torch.zeros(1, 3, 1, 1))
    assert not coded.bits[0].any()
    assert (coded.running[0] < 0).all()


def test_codes_have_the_length_of_their_scale_and_the_last_length_counts_for_all_further_scales():
    bits = random(2, CHANNELS, 3, 4, seed=0) > 0
    quantizer = MultiScaleQuantizer(WIDE, CHANNELS, (1.0, 0.5, 0.3))
    for scale, length in enumerate((1.0, 0.5, 0.3, 0.3)):
        codes = quantizer.codes(bits, scale)
        assert_close(codes.norm(dim=1), torch.full((2, 3, 4), length))
        assert torch.equal(codes > 0, bits)


def test_a_repeated_grid_with_halved_steps_approximates_bit_by_bit():
    """Three signs of 1, 1/2 and 1/4 leave at most 1/4 of anything within [-2, 2]; d = 1, so steps are lengths."""
    grids = ScaleSchedule(((1, 9), (1, 9), (1, 9)))
    features = torch.linspace(-2, 2, 9).view(1, 1, 1, 9)
    coded = MultiScaleQuantizer(grids, 1, (1.0, 0.5, 0.25)).encode(features)
    inside = features.abs() <= 1.75
    assert (coded.running[-1] - features).abs()[inside].max() <= 0.25
    assert coded.running[-1].flatten()[-1] == 1.75


@given(schedules, seeds)
def test_bits_decode_to_the_sum_that_they_were_taken_from(schedule: ScaleSchedule, seed: int):
    quantizer = MultiScaleQuantizer(schedule, CHANNELS)
    coded = quantizer.encode(random(2, CHANNELS, *schedule.final, seed=seed))
    for count in range(1, len(schedule) + 1):
        assert torch.equal(quantizer.decode(coded.bits[:count]), coded.running[count - 1])


@given(seeds)
def test_a_single_scale_gives_its_own_bits_again(seed: int):
    quantizer = MultiScaleQuantizer(ScaleSchedule(((4, 3),)), CHANNELS)
    bits = random(2, CHANNELS, 4, 3, seed=seed) > 0
    assert torch.equal(quantizer.encode(quantizer.decode([bits])).bits[0], bits)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), seeds)
def test_tokens_and_latents_are_two_orders_of_the_same_numbers(height: int, width: int, merge: int, seed: int):
    latents = random(2, CHANNELS, height * merge, width * merge, seed=seed)
    tokens = latents_to_tokens(latents, merge)
    assert tokens.shape == (2, height * width, CHANNELS * merge**2)
    assert torch.equal(tokens_to_latents(tokens, (height, width), merge), latents)


def test_merged_latents_are_ordered_by_channel_then_row_then_column():
    latents = random(2, 3, 4, 6, seed=0)
    tokens = latents_to_tokens(latents, 2)
    for y in range(2):
        for x in range(3):
            for c in range(3):
                for dy in range(2):
                    for dx in range(2):
                        expected = latents[:, c, 2 * y + dy, 2 * x + dx]
                        assert torch.equal(tokens[:, y * 3 + x, c * 4 + dy * 2 + dx], expected)


def random_flips(schedule: ScaleSchedule, batch: int) -> list[Tensor]:
    return [random(batch, CHANNELS, *grid, seed=50 + k) > 0.5 for k, grid in enumerate(schedule)]


def test_without_a_flip_nothing_changes():
    quantizer = MultiScaleQuantizer(WIDE, CHANNELS)
    features = random(2, CHANNELS, 4, 7, seed=3)
    none = [torch.zeros(2, CHANNELS, *grid, dtype=torch.bool) for grid in WIDE]
    plain, flipped = quantizer.encode(features), quantizer.encode(features, flips=none)
    assert all(torch.equal(a, b) for a, b in zip(plain.bits, flipped.bits, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain.running, flipped.running, strict=True))


def test_labels_are_the_true_bits_of_residuals_that_hold_the_earlier_errors():
    quantizer = MultiScaleQuantizer(WIDE, CHANNELS)
    features, flips = random(2, CHANNELS, 4, 7, seed=3), random_flips(WIDE, 2)
    coded = quantizer.encode(features, flips=flips)
    running = torch.zeros_like(features)
    for scale in range(len(WIDE)):
        assert torch.equal(coded.bits[scale], quantizer.residual(features, running, scale) > 0)
        running = quantizer.add(running, coded.bits[scale] ^ flips[scale], scale)
        assert torch.equal(coded.running[scale], running)
    plain = quantizer.encode(features)
    assert torch.equal(coded.bits[0], plain.bits[0])
    assert not torch.equal(coded.bits[1], plain.bits[1])


@pytest.mark.parametrize("scale", range(4))
def test_a_flip_shows_in_the_sums_from_its_scale_on_and_in_later_labels_only(scale):
    quantizer = MultiScaleQuantizer(WIDE, CHANNELS)
    features = random(2, CHANNELS, 4, 7, seed=3)
    flips = [torch.full((2, CHANNELS, *grid), k == scale) for k, grid in enumerate(WIDE)]
    plain, flipped = quantizer.encode(features), quantizer.encode(features, flips=flips)
    for other in range(len(WIDE)):
        assert torch.equal(plain.bits[other], flipped.bits[other]) == (other <= scale)
        assert torch.equal(plain.running[other], flipped.running[other]) == (other < scale)
