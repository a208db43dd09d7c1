"""Rotary positions: rotations by hand, tables by a slow formula, and the two layouts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.tiny import random
from varedit.scales import RELEASED_TEMPLATES, ScaleSchedule
from varedit.transformer.rope import Rotary, exact_positions, released_flat_positions, rotary_table, rotate

coordinates = st.integers(-40, 40)


def test_rotation_is_counter_clockwise():
    quarter = torch.tensor([[math.pi / 2]])  # one position, one channel pair
    x = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    turned = rotate(x, Rotary.of(quarter.cos(), quarter.sin()))
    assert_close(turned.flatten(), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("turn", [rotate, torch.compile(rotate, backend="eager")], ids=["as it is", "compiled"])
def test_rotation_is_a_complex_product_of_adjacent_channels(turn):
    x, angles = random(2, 3, 5, 8, seed=0), random(5, 4, seed=1)
    pairs = torch.view_as_complex(x.unflatten(-1, (4, 2)))
    expected = torch.view_as_real(pairs * torch.polar(torch.ones(5, 4), angles)).flatten(-2)
    assert_close(turn(x, Rotary.of(angles.cos(), angles.sin())), expected)


@given(coordinates, coordinates, coordinates, coordinates)
def test_a_product_of_rotated_vectors_depends_on_their_distance_alone(y: int, x: int, down: int, across: int):
    q, k = random(1, 1, 1, 8, seed=0), random(1, 1, 1, 8, seed=1)

    def product(*positions: tuple[int, int]) -> float:
        q_at, k_at = (rotary_table(torch.tensor([place], dtype=torch.float32), 8) for place in positions)
        return float((rotate(q, q_at) * rotate(k, k_at)).sum())

    moved = product((y, x), (y + down, x + across))
    assert moved == pytest.approx(product((0, 0), (down, across)), abs=2e-5)


def test_the_table_turns_first_with_rows_then_with_columns():
    width = 12
    positions = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 7.0], [3.0, 2.0]])
    table = rotary_table(positions, width)
    for row, (y, x) in enumerate(positions.tolist()):
        frequencies = [10000 ** (-2 * j / (width / 2)) for j in range(width // 4)]
        angles = torch.tensor([y * f for f in frequencies] + [x * f for f in frequencies])
        assert_close(table.cos[row], angles.cos(), atol=1e-6, rtol=0)
        assert_close(table.sin[row], angles.sin(), atol=1e-6, rtol=0)


def test_a_grid_is_spread_over_the_reference():
    positions = exact_positions([(2, 3)], (4, 7), shifted=False)
    assert positions.tolist() == [[0, 0], [0, 2], [0, 5], [2, 0], [2, 2], [2, 5]]
    assert torch.equal(exact_positions([(2, 3)], (4, 7), shifted=True), positions + torch.tensor([4, 7]))
    assert torch.equal(exact_positions([(1, 1), (2, 3)], (4, 7), shifted=False)[1:], positions)


def test_a_half_goes_to_the_even_neighbour():
    assert exact_positions([(2, 1)], (5, 1), shifted=False)[:, 0].tolist() == [0, 2]  # 2.5
    assert exact_positions([(2, 1)], (7, 1), shifted=False)[:, 0].tolist() == [0, 4]  # 3.5


def test_the_one_position_that_float32_decides():
    rows = exact_positions([(54, 1)], (111, 1), shifted=False)[:, 0]
    assert round(27 * (111 / 54)) == 55  # in double
    assert rows[27].item() == 56


def test_both_layouts_are_the_same_at_the_full_budget():
    templates = RELEASED_TEMPLATES.within("1M").templates
    assert len(templates) == 15
    for template in templates:
        schedule = template.schedule
        source = exact_positions([schedule.final], schedule.final, shifted=True)
        target = exact_positions(list(schedule), schedule.final, shifted=False)
        flat = released_flat_positions(schedule, template.rotary_reference)
        assert torch.equal(flat, torch.cat([source, target])), template.name


def test_at_512_pixels_the_flat_layout_puts_every_token_at_a_source_position():
    template = RELEASED_TEMPLATES.within("0.25M").square
    flat = released_flat_positions(template.schedule, template.rotary_reference)
    assert len(flat) == 1024 + 2521
    for place in (0, 63, 64, 1023, 1024, 3544):
        assert flat[place].tolist() == [64 + place // 64, 64 + place % 64]


def test_places_beyond_the_source_area_read_the_scales_from_their_first_row():
    table = ScaleSchedule(((1, 1), (2, 2), (3, 3)))
    flat = released_flat_positions(table.first(2), table)  # 4 source + 5 target tokens, 9 rows of source positions
    assert torch.equal(flat, exact_positions([(3, 3)], (3, 3), shifted=True))
    longer = ScaleSchedule(((1, 1), (2, 2), (2, 3)))  # 6 source + 11 target tokens
    flat = released_flat_positions(longer, table)
    assert torch.equal(flat[9:], exact_positions(list(table), (3, 3), shifted=False)[: 17 - 9])
