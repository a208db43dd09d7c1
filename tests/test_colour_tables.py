"""Colour tables against edits whose function from colour to colour is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from varedit.colour_maps import IDENTITY
from varedit.colour_tables import ColourTable, fitted_table, unseen_change

HEIGHT, WIDTH = 54, 70
SEPIA = torch.tensor([[0.4, 0.7, 0.2, 0.1], [0.3, 0.6, 0.2, 0.0], [0.3, 0.5, 0.1, -0.1]])


def drawn(numbers: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(numbers.astype(np.float32))


def noise_of(deviation: float, seed: int = 2) -> Tensor:
    return drawn(np.random.default_rng(seed).normal(0, deviation, (3, HEIGHT, WIDTH)))


@pytest.fixture(scope="module")
def colours() -> Tensor:
    """(3, h, w): three areas, reddish, greenish and grey, each with its own shades."""
    draws = np.random.default_rng(7)
    middles = np.array([[0.5, -0.4, -0.5], [-0.5, 0.4, -0.4], [0.1, 0.1, 0.1]])
    areas = (np.arange(WIDTH) // 7 + np.arange(HEIGHT)[:, None] // 9) % 3
    shades = middles[areas] + draws.uniform(-0.25, 0.25, (HEIGHT, WIDTH, 1)) + draws.normal(0, 0.02, (HEIGHT, WIDTH, 3))
    return drawn(shades).permute(2, 0, 1).contiguous()


def reds(colours: Tensor) -> Tensor:
    return colours[0] > colours[1] + 0.3


def reds_to_blue(colours: Tensor) -> Tensor:
    """What turning the reddish colours blue adds to them: red and blue change places."""
    return torch.where(reds(colours), colours.flip(0) - colours, 0)


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def by_hand(nodes: Tensor, colour: Tensor) -> Tensor:
    """Trilinear interpolation, one corner after the other."""
    size = nodes.shape[1]
    place = ((colour.clip(-1, 1) + 1) / 2 * (size - 1)).tolist()
    low = [min(int(each), size - 2) for each in place]
    total = torch.zeros(3)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod([place[k] - low[k] if corner[k] else 1 - place[k] + low[k] for k in range(3)])
        red, green, blue = (start + step for start, step in zip(low, corner, strict=True))
        total += float(weight) * nodes[:, blue, green, red]
    return total


def test_a_table_is_read_by_trilinear_interpolation():
    draws = np.random.default_rng(3)
    table = ColourTable(drawn(draws.normal(size=(3, 4, 4, 4))))
    some = drawn(draws.uniform(-1.2, 1.2, (3, 5, 6)))
    expected = torch.stack([by_hand(table.nodes, some[:, i, j]) for i in range(5) for j in range(6)])
    assert_close(table.change_of(some).reshape(3, -1).T, expected, rtol=0, atol=1e-5)


def test_many_colours_are_read_as_few_are(monkeypatch):
    draws = np.random.default_rng(4)
    table = ColourTable(drawn(draws.normal(size=(3, 3, 3, 3))))
    some = drawn(draws.uniform(-1, 1, (3, 7, 11)))
    at_once = table.change_of(some)
    monkeypatch.setattr("varedit.colour_tables.PIXELS_AT_ONCE", 10)
    assert torch.equal(table.change_of(some), at_once)


def test_the_table_of_a_map_is_the_map(colours):
    change = torch.einsum("ij,jhw->ihw", SEPIA[:, :3], colours) + SEPIA[:, 3, None, None] - colours
    assert_close(ColourTable.of(SEPIA).change_of(colours), change, rtol=0, atol=1e-6)


def test_without_a_change_the_table_is_nothing(colours):
    table = fitted_table(colours, noise_of(0.004), IDENTITY, noise=0.004**2)
    assert not table.nodes.any()


@pytest.mark.parametrize("deviation", [0.0, 0.05])
def test_a_change_of_one_colour_is_found_and_others_keep_their_value_within_a_level(colours, deviation):
    change = reds_to_blue(colours)
    table = fitted_table(colours, change + noise_of(deviation), IDENTITY, noise=deviation**2)
    told = table.change_of(colours)
    assert rms(told - change) < 0.06 * rms(change) + 0.4 * deviation
    others = told[:, ~reds(colours)]
    assert (others.abs().amax(dim=0) < 1 / 127.5).float().mean() > 0.95
    assert (others == 0).all(dim=0).float().mean() > 0.7


def test_shades_between_the_seen_ones_change_too(colours):
    change = reds_to_blue(colours)
    is_seen = (colours.mean(dim=0) * 20).round() % 2 == 0
    table = fitted_table(colours, change, IDENTITY, noise=0.0, weight=is_seen.float())
    is_between = ~is_seen & reds(colours)
    assert rms((table.change_of(colours) - change)[:, is_between]) < 0.15 * rms(change[:, is_between])


def test_colours_without_evidence_follow_the_map(colours):
    grey = torch.tensor([[0.3, 0.6, 0.1, 0]] * 3)
    kept = -ColourTable.of(grey).change_of(colours) * reds(colours)  # all but the reds lose their colour
    table = fitted_table(colours, kept, grey, noise=0.0)
    told = table.change_of(colours)
    assert (told[:, reds(colours)] == 0).all(dim=0).float().mean() > 0.6  # map and rest come to nothing, exactly
    assert rms(told[:, reds(colours)]) < 0.01  # and at the borders of the reds nearly
    assert_close(told[:, ~reds(colours)], ColourTable.of(grey).change_of(colours)[:, ~reds(colours)], rtol=0, atol=0.02)
    unseen = torch.tensor([-0.9, -0.8, 0.9])[:, None, None]
    assert_close(table.change_of(unseen), ColourTable.of(grey).change_of(unseen), rtol=0, atol=1e-5)


@pytest.mark.parametrize("deviation", [0.04, 0.1])
def test_noise_explains_nothing_at_pixels_that_the_table_has_not_seen(deviation):
    colours = drawn(np.random.default_rng(8).uniform(-1, 1, (3, HEIGHT, WIDTH)))  # hardly one a node
    rest = noise_of(deviation)
    fitted = fitted_table(colours, rest, IDENTITY, noise=0.0).change_of(colours)
    unseen = unseen_change(colours, rest, IDENTITY, noise=0.0)
    assert rms(rest - fitted) < 0.8 * deviation  # the table repeats what it has seen
    assert rms(rest - unseen) > deviation


def test_an_edit_by_colour_is_told_at_unseen_pixels(colours):
    change = reds_to_blue(colours)
    assert rms(change - unseen_change(colours, change, IDENTITY, noise=0.0)) < 0.1 * rms(change)


def test_a_change_of_one_place_is_not_told_at_unseen_pixels(colours):
    change = torch.zeros_like(colours)
    change[:, : HEIGHT // 8, : WIDTH // 8] = 0.5  # one square of the chessboard
    assert rms(change - unseen_change(colours, change, IDENTITY, noise=0.0)) > 0.9 * rms(change)
