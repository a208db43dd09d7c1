"""What is put where a thing is taken away."""

from __future__ import annotations

import torch

from tests.tiny import random, randomize
from varedit.transformer.fill_network import FillNetwork, smoothly_filled


def hole() -> torch.Tensor:
    known = torch.ones(2, 1, 24, 40)
    known[..., 8:14, 10:22] = 0
    return known


def test_it_begins_with_a_smooth_filling_and_touches_nothing_that_is_known():
    picture, known = random(2, 3, 24, 40, seed=1), hole()
    network = FillNetwork()
    assert torch.equal(network(picture, known), smoothly_filled(picture, known))
    randomize(network, seed=2)
    mended = network(picture, known)
    is_known = known.bool().expand_as(picture)
    assert torch.equal(mended[is_known], picture[is_known]) and (mended != smoothly_filled(picture, known)).any()


def test_what_a_hole_hides_has_no_say():
    picture, known = random(2, 3, 24, 40, seed=1), hole()
    network = FillNetwork().requires_grad_(False)
    randomize(network, seed=2)
    assert torch.equal(network(picture, known), network(picture * known, known))


def test_it_learns_where_edges_go_on():
    """Stripes that run through holes, each time elsewhere."""
    torch.manual_seed(0)
    network, known = FillNetwork(), hole()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    left = []
    for step in range(60):
        phase = torch.rand(2, 1, 1, 1, generator=torch.Generator().manual_seed(step)) * 6
        stripes = torch.where((torch.arange(24.0).view(24, 1) / 2 + phase).sin() > 0, 0.8, -0.8).expand(2, 3, 24, 40)
        off, smooth = (
            (each - stripes).abs().mean() for each in (network(stripes, known), smoothly_filled(stripes, known))
        )
        optimizer.zero_grad()
        off.backward()
        optimizer.step()
        left.append(off.item() / smooth.item())
    assert sum(left[-5:]) / 5 < 0.8
