"""Things that are pasted at the photograph's own size: in the right place, with its own pixels, and nowhere else."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from tests.toys import picture, toy_pipeline
from varedit.fit import Fit, FitMode, fit_picture
from varedit.pasting import Pasted
from varedit.transformer.collage import Layers, pastes
from varedit.transformer.copy_path import Proposed

Picture = NDArray[np.uint8]


def photograph(height: int, width: int, seed: int = 0) -> Picture:
    pixels: Picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return pixels


def block(height: int, width: int, rows: slice, columns: slice) -> NDArray[np.float32]:
    cover = np.zeros((height, width), np.float32)
    cover[rows, columns] = 1
    return cover


def pasted(
    thing: Pasted, before: Picture, fit: Fit, limit: NDArray[np.float32] | None = None
) -> tuple[Picture, Picture]:
    after, change = before.copy(), np.zeros(before.shape[:2], np.uint8)
    thing.paste(after, change, before, fit, limit)
    return after, change


MOVED = Pasted(block(24, 32, slice(6, 12), slice(8, 16)), None, (1.0, -0.25), (1.0, -0.5))  # to the right and down


def test_a_thing_is_moved_with_the_photographs_own_pixels():
    """24 x 32 pixels of the model are 96 x 128 of the photograph: 4 each."""
    before = photograph(96, 128)
    _, fit = fit_picture(before, (32, 24), mode="template")
    after, change = pasted(MOVED, before, fit)
    assert_array_equal(after[78:90, 70:90], before[30:42, 38:58], "but for one model pixel and an edge of half a one")
    outside = np.ones((96, 128), bool)
    outside[76:92, 68:92] = False
    assert_array_equal(after[outside], before[outside])
    assert (change[78:90, 70:90] == 255).all() and not change[outside].any()


@pytest.mark.parametrize(("mode", "size"), [("template", (36, 12)), ("square", (24, 24))])
def test_padding_moves_nothing(mode: FitMode, size: tuple[int, int]):
    """A picture of 4:1 lies in a canvas of 3:1, in its middle, or in a square, at its top."""
    before = photograph(30, 120)
    _, fit = fit_picture(before, size, mode=mode)
    left, top = fit.offset
    assert mode == "square" or top == 5
    across, down = size[0] / fit.padded_width, size[1] / fit.padded_height
    cover = block(size[1], size[0], slice(None), slice(0, size[0] // 3))  # the left third
    after, _ = pasted(Pasted(cover, None, (1.0, -0.5), (1.0, 0.0)), before, fit)
    edge = round(2 / across)
    assert_array_equal(
        after[round(2 / down) : -round(2 / down), 60 + edge : 100 - edge],
        before[round(2 / down) : -round(2 / down), edge : 40 - edge],
    )
    assert_array_equal(after[:, :56], before[:, :56])
    assert left == 0


def test_a_thing_grows_around_its_place():
    """A gradient is read exactly between its pixels."""
    before = np.zeros((64, 64, 3), np.uint8)
    before[..., 0], before[..., 1] = np.arange(64) * 3, np.arange(64)[:, None] * 3
    _, fit = fit_picture(before, (64, 64), mode="template")
    cover = block(64, 64, slice(28, 36), slice(28, 36))
    after, change = pasted(Pasted(cover, None, (0.5, 0.25), (0.5, 0.25)), before, fit)  # twice as large around (32, 32)
    assert_allclose(after[28, 28, :2], 3 * ((28.5 - 32) / 2 + 32 - 0.5), atol=0.51)
    assert_array_equal(np.flatnonzero(change.any(axis=0))[[0, -1]], [26, 37])


def test_a_new_thing_has_colours_and_edges_of_its_own():
    before = photograph(80, 80)
    _, fit = fit_picture(before, (16, 16), mode="template")
    cover = block(8, 8, slice(0, 8), slice(0, 4))
    colours = np.stack([cover, -cover, 0 * cover])
    after, change = pasted(Pasted(cover, colours, (2.0, -0.5), (2.0, -0.5)), before, fit)  # over the middle quarter
    assert_array_equal(after[28:52, 28:32], np.broadcast_to(np.array([255, 0, 128], np.uint8), (24, 4, 3)))
    outside = np.ones((80, 80), bool)
    outside[25:55, 25:35] = False
    assert_array_equal(after[outside], before[outside])
    assert not change[outside].any()


def test_a_mask_limits_it():
    before = photograph(96, 128)
    _, fit = fit_picture(before, (32, 24), mode="template")
    limit = np.zeros((96, 128), np.float32)
    limit[80:88, 70:80] = 1
    after, change = pasted(MOVED, before, fit, limit)
    free, _ = pasted(MOVED, before, fit)
    assert_array_equal(after, np.where(limit[..., None] > 0, free, before))
    assert_array_equal(change > 0, (limit > 0) & (free != before).any(axis=2))


def test_nothing_is_pasted_beyond_the_picture():
    before = photograph(24, 32)
    _, fit = fit_picture(before, (32, 24), mode="template")
    for thing in (replace(MOVED, across=(1.0, -0.9)), replace(MOVED, cover=0 * MOVED.cover)):
        after, change = pasted(thing, before, fit)
        assert_array_equal(after, before)
        assert not change.any()
        assert not thing.is_drawn_in(np.zeros((3, 24, 32), np.float32), np.zeros((3, 24, 32), np.float32))


def test_what_the_decoder_did_not_draw_is_not_pasted():
    source = np.random.default_rng(1).uniform(-1, 1, (3, 24, 32)).astype(np.float32)
    result = source.copy()
    result[:, 18:24, 16:24] = source[:, 6:12, 8:16]
    noise = np.random.default_rng(2).normal(0, 0.1, source.shape).astype(np.float32)
    assert MOVED.is_drawn_in(result + noise, source) and not MOVED.is_drawn_in(source, source)


YES, NO = 9.0, -9.0


def layers_of(thing: torch.Tensor, placement: list[float], sprite: torch.Tensor) -> Layers:
    return Layers(
        torch.full_like(thing, NO), thing, torch.tensor([placement]), sprite, torch.tensor([[YES, NO, NO, NO]])
    )


@pytest.mark.parametrize("is_new", [False, True])
def test_a_run_pastes_what_its_models_proposal_shows(is_new: bool):
    """A toy model proposes nothing, so it is told what; its decoder then shows it, or does not."""
    pipeline = toy_pipeline()
    image = picture(40, 40)
    run = pipeline.started(image, "warmer", seed=1)
    for _ in run.scales():
        pass
    height, width = run.fitted.shape[2:]
    thing = torch.full((1, 1, height, width), NO)
    thing[..., : height // 2, : width // 2] = YES
    sprite = torch.full((1, 4, 24, 24), 0.5)
    sprite[:, 3] = YES
    placement = [NO, NO if is_new else YES, YES if is_new else NO, math.log(0.5) if is_new else 0.0, YES, 0.75, 0.75]
    layers = layers_of(thing, placement, sprite)
    assert run.generation is not None
    run.generation.cache.proposal = Proposed(torch.zeros(1, 1, 1), layers)
    source = torch.from_numpy(run.fitted)
    result = source.clone()
    quarter = sprite[0, :3, :1, :1] if is_new else source[0, :, : height // 2, : width // 2]
    result[0, :, height // 2 :, width // 2 :] = quarter
    unedited = run.unedited()
    [edit] = run.in_model_size(result.numpy(), unedited)
    assert len(edit.pasted) == 1
    before, after = np.asarray(image), edit.restored().rgb
    expected = np.full((12, 12, 3), 191, np.uint8) if is_new else before[4:16, 4:16]
    assert_array_equal(after[24:36, 24:36], expected)
    [other] = run.in_model_size(-source.numpy(), unedited)
    assert not other.pasted, "the decoder shows something else"
    [raw] = run.in_model_size(result.numpy(), None)
    assert not raw.pasted


def test_an_edit_that_goes_on_from_another_pastes_nothing_of_the_photograph():
    pipeline = toy_pipeline()
    image = picture(40, 40)
    codes = pipeline(image, "warmer", seed=1).codes[0]
    run = pipeline.started(image, "cooler", seed=1, codes=codes)
    for _ in run.scales():
        pass
    assert run.generation is not None
    thing = torch.full((1, 1, *run.fitted.shape[2:]), YES)
    layers = layers_of(thing, [NO, YES, NO, 0.0, NO, 0.5, 0.5], torch.zeros(1, 4, 24, 24))
    run.generation.cache.proposal = Proposed(torch.zeros(1, 1, 1), layers)
    copy, _ = pastes(torch.from_numpy(run.fitted), layers)
    assert copy.shown.item() == 1 and run._pasted == [[]]
