"""Mosaics at the photograph's own size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.testing import assert_array_equal

from tests.toys import picture, toy_pipeline
from varedit.mosaic import make_mosaic
from varedit.transformer.collage import Layers
from varedit.transformer.copy_path import Proposed


def test_squares_are_flat_and_keep_their_mean_within_the_limit():
    random = np.random.default_rng(0)
    before = random.integers(0, 256, (40, 60, 3), np.uint8)
    after, change = before.copy(), np.zeros((40, 60), np.uint8)
    limit = np.zeros((40, 60), np.float32)
    limit[:, :20] = 1
    make_mosaic(after, change, 4, limit)
    for row in range(0, 40, 10):
        for column in (0, 10):
            square = slice(row, row + 10), slice(column, column + 10)
            mean = np.rint(before[square].reshape(-1, 3).mean(axis=0, dtype=np.float64))
            assert np.abs(after[square] - mean).max() <= 1 and (after[square] == after[square][0, 0]).all()
    assert_array_equal(after[:, 20:], before[:, 20:])
    assert (change[:, :20] == 255).all() and not change[:, 20:].any()


def test_a_run_makes_the_mosaic_that_its_models_proposal_tells():
    """A toy model proposes nothing, so it is told how many squares, of two edits' first one."""
    pipeline = toy_pipeline()
    images = [picture(40, 40), picture(40, 40)]
    run = pipeline.started(images, ["warmer", "cooler"], seed=1)
    for _ in run.scales():
        pass
    nothing = torch.full((2, 1, *run.fitted.shape[2:]), -9.0)
    placement, sprite = torch.full((2, 7), -9.0), torch.full((2, 4, 24, 24), -9.0)
    mosaic = torch.tensor([[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])  # 8 squares, and none
    assert run.generation is not None
    layers = Layers(nothing, nothing, placement, sprite, mosaic)
    run.generation.cache.proposal = Proposed(torch.zeros(2, 1, 1), layers)
    first, second = run.in_model_size(run.decoded(), run.unedited())
    made, other = first.restored().rgb, second.restored().rgb
    assert (made == made.reshape(8, 5, 8, 5, 3)[:, :1, :, :1].repeat(5, 1).repeat(5, 3).reshape(40, 40, 3)).all()
    assert not (other == other.reshape(8, 5, 8, 5, 3)[:, :1, :, :1].repeat(5, 1).repeat(5, 3).reshape(40, 40, 3)).all()
