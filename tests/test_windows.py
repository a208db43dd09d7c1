"""Windows of pictures, against what each window holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from varedit.fit import fit_picture
from varedit.source_size import to_source_size
from varedit.windows import box_mean, dilated, quantile


def random_planes(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("radius", [0, 1, 3, 20])
@pytest.mark.parametrize("shape", [(9, 6), (2, 5, 11), (2, 3, 7, 7)])
def test_each_window_is_cut_off_at_the_borders(shape, radius):
    planes = random_planes(*shape)
    means, largest = (change(torch.from_numpy(planes), radius).numpy() for change in (box_mean, dilated))
    assert means.dtype == largest.dtype == np.float32
    for row, column in np.ndindex(*shape[-2:]):
        window = planes[..., max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1]
        np.testing.assert_allclose(means[..., row, column], window.mean(axis=(-2, -1)), atol=1e-6)
        np.testing.assert_array_equal(largest[..., row, column], window.max(axis=(-2, -1)))


def test_nothing_and_all_have_exact_means():
    """What is exactly nothing is the photograph's own pixel, bit for bit."""
    spot = torch.zeros(33, 40)
    spot[5, 7] = 0.3
    means = box_mean(spot, 2)
    assert means.count_nonzero() == 25 and not means[8:].any() and not means[:, 10:].any()
    assert (box_mean(torch.ones_like(spot), 11) == 1).all()


@pytest.mark.parametrize("count", [1, 2, 7, 100])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.995, 1.0])
def test_a_quantile_lies_between_the_nearest_values(count, share):
    values = random_planes(count)
    assert quantile(torch.from_numpy(values), share) == pytest.approx(float(np.quantile(values, share)), abs=1e-6)


@pytest.mark.parametrize("size", [(90, 61), (20, 13), (48, 30), (16, 100)])  # larger, smaller, equal, padded
def test_maps_are_resized_as_pil_resizes_them(size):
    _, fit = fit_picture(np.zeros((size[1], size[0], 3), np.uint8), (48, 30), mode="template")
    maps = random_planes(2, 30, 48)
    maps[1] = 0
    resized = to_source_size(fit, maps)
    canvas = Image.fromarray(maps[0]).resize((fit.padded_width, fit.padded_height), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(resized[0], np.asarray(canvas.crop(fit.source_box)), atol=1e-4)
    assert resized.shape == (2, size[1], size[0]) and not resized[1].any()
    assert maps[0].min() <= resized[0].min() and resized[0].max() <= maps[0].max(), "without overshoot"


def test_some_rows_of_a_map_are_those_of_all():
    for width, height in ((90, 61), (20, 13), (16, 100)):
        _, fit = fit_picture(np.zeros((height, width, 3), np.uint8), (48, 30), mode="template")
        maps = random_planes(3, 30, 48)
        whole = to_source_size(fit, maps)
        parts = [to_source_size(fit, maps, slice(start, start + 7)) for start in range(0, height, 7)]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)
