"""Parts of photographs: which parts, how far they are varied, and what is told where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from varedit.data.crops import (
    LARGEST_STRETCH,
    SOURCE_EXPOSURE,
    SOURCE_WHITE_BALANCE,
    PhotographCrops,
    jittered,
    mean_change,
    photograph_files,
    random_crop,
    read_photograph,
)
from varedit.errors import InputMissing


def test_crops_cover_all_scales_keep_their_aspect_and_are_mirrored_half_of_the_time() -> None:
    """The photograph tells its own coordinates: red is x, green is y."""
    x, y = np.meshgrid(np.linspace(0, 255, 160), np.linspace(0, 255, 120))
    photograph = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))
    random = np.random.default_rng(0)
    widths, heights, mirrored = [], [], []
    for _ in range(300):
        crop = random_crop(photograph, random, (30, 40)).astype(float)
        widths.append(abs(crop[15, -1, 0] - crop[15, 0, 0]) * 40 / 39 / 255)  # shares of the photograph
        heights.append((crop[-1, 20, 1] - crop[0, 20, 1]) * 30 / 29 / 255)
        mirrored.append(crop[15, -1, 0] < crop[15, 0, 0])
    stretch = np.array(widths) / np.array(heights)  # photograph and crop are both 4:3
    largest = np.maximum(widths, heights)
    assert 1 / 1.17 < stretch.min() < 0.9 and 1.1 < stretch.max() < 1.17  # LARGEST_STRETCH, within a byte of the ramp
    assert 0.33 < largest.min() < 0.4 and 0.95 < largest.max() < 1.02
    assert 0.4 < np.mean(mirrored) < 0.6
    assert LARGEST_STRETCH == 1.15


def test_jitter_stays_mild() -> None:
    grey = np.full((1, 1, 3), 128, dtype=np.uint8)
    random = np.random.default_rng(0)
    values = np.array([jittered(grey, random)[0, 0] for _ in range(400)]).astype(float)
    linear = ((values / 255 + 0.055) / 1.055) ** 2.4 / ((128 / 255 + 0.055) / 1.055) ** 2.4
    stops = np.log2(linear[:, 1])
    balance = np.log(linear[:, [0, 2]] / linear[:, 1:2])
    rounding = 0.03  # half a byte at 128
    assert SOURCE_EXPOSURE * 0.9 < np.abs(stops).max() < SOURCE_EXPOSURE + rounding
    assert SOURCE_WHITE_BALANCE * 0.8 < np.abs(balance).max() < SOURCE_WHITE_BALANCE + rounding


def test_all_photographs_are_drawn_and_each_crop_names_its_own(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "c")):
        Image.new("RGB", (30, 20), (80 * number, 80 * number, 80 * number)).save(tmp_path / f"{name}.png")
    crops = PhotographCrops(photograph_files(tmp_path), short_side=20)
    random = np.random.default_rng(0)
    drawn = [crops.crop(random, (5, 6)) for _ in range(60)]
    assert {stem for _, stem in drawn} == {"a", "b", "c"}
    assert all((pixels.max() < 40) == (stem == "a") for pixels, stem in drawn)


def test_a_change_is_the_mean_over_pixels_and_channels_in_bytes() -> None:
    source = np.array([[[10, 20, 30], [0, 0, 255]]], dtype=np.uint8)
    target = np.array([[[16, 20, 30], [255, 0, 0]]], dtype=np.uint8)
    assert mean_change(source, target) == (6 + 255 + 255) / 6


def test_large_photographs_are_held_small(tmp_path: Path) -> None:
    Image.new("RGB", (900, 600), "teal").save(tmp_path / "large.jpg")
    Image.new("RGB", (30, 20), "teal").save(tmp_path / "small.jpg")
    assert read_photograph(tmp_path / "large.jpg", 40).size == (60, 40)
    assert read_photograph(tmp_path / "small.jpg", 40).size == (30, 20)


def test_a_missing_folder_is_told_with_what_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"no folder of photographs.*varedit data fetch"):
        photograph_files(tmp_path / "nowhere")
