"""Editing pairs: reproducible, of the right photographs, and each target is what the instruction asks of the source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from varedit.data.adjustments import ALL_ADJUSTMENTS, Adjustment
from varedit.data.contact_sheet import CAPTION_LINES, GAP, LINE_HEIGHT, contact_sheet
from varedit.data.phrases import phrasings, words
from varedit.data.scenes import (
    LARGEST_STRETCH,
    SMALLEST_CHANGE,
    SOURCE_EXPOSURE,
    SOURCE_WHITE_BALANCE,
    AdjustmentScenes,
    alternatives,
    jittered,
    mean_change,
    random_crop,
    read_photograph,
)
from varedit.data.splits import EXAMPLES, Split, split_of
from varedit.errors import InputMissing

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty blobs of colour, 48 x 36 pixels."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(40):
        blobs = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        blobs.resize((48, 36), Image.Resampling.BICUBIC).save(folder / f"photo-{number:02}.jpg", quality=95)
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def scenes(photographs: Path) -> AdjustmentScenes:
    return AdjustmentScenes(photographs, split="train", size_hw=(12, 16), seed=5)


def test_a_pair_follows_from_seed_and_index(photographs: Path, scenes: AdjustmentScenes) -> None:
    again = AdjustmentScenes(photographs, split="train", size_hw=(12, 16), seed=5)
    other_seed = AdjustmentScenes(photographs, split="train", size_hw=(12, 16), seed=6)
    for index in (7, 0, 123_456_789):  # out of order: no pair depends on those before it
        pair, same, other = scenes.pair(index), again.pair(index), other_seed.pair(index)
        assert (pair.instruction, pair.photograph) == (same.instruction, same.photograph)
        assert_array_equal(pair.source, same.source)
        assert_array_equal(pair.target, same.target)
        assert not np.array_equal(pair.source, other.source)


def test_a_batch_is_its_pairs_stacked(scenes: AdjustmentScenes) -> None:
    sources, instructions, targets = scenes.batch([4, 9, 4], (10, 14))
    assert sources.shape == targets.shape == (3, 10, 14, 3)
    for position, index in enumerate([4, 9, 4]):
        pair = scenes.pair(index, size_hw=(10, 14))
        assert instructions[position] == pair.instruction
        assert_array_equal(sources[position], pair.source)
        assert_array_equal(targets[position], pair.target)


def test_targets_are_what_the_instruction_asks_of_the_source(scenes: AdjustmentScenes) -> None:
    for index in range(300):
        pair = scenes.pair(index)
        assert pair.source.dtype == pair.target.dtype == np.uint8 and pair.source.shape == (12, 16, 3)
        asked = tuple(word for word in words(pair.instruction) if word != "please")
        assert asked in {tuple(words(text)) for text in phrasings(pair.adjustment, "train")}
        if pair.adjustment is None:
            assert pair.category == "nothing"
            assert_array_equal(pair.target, pair.source)
        else:
            assert pair.category == pair.adjustment.kind
            exact = pair.adjustment.apply(pair.source / 255) * 255
            assert np.abs(pair.target - exact).max() <= 0.5 + 1e-3
            assert mean_change(pair.source, pair.target) >= SMALLEST_CHANGE


def test_all_adjustments_and_some_nothing_are_drawn(scenes: AdjustmentScenes) -> None:
    pairs = [scenes.pair(index) for index in range(1500)]
    assert {pair.adjustment for pair in pairs} == {*ALL_ADJUSTMENTS, None}
    assert 40 <= sum(pair.adjustment is None for pair in pairs) <= 80  # 4 % are 60
    share = sum(pair.category == "sepia" for pair in pairs) / len(pairs)
    assert 0.07 < share < 0.105  # 0.96 / 11 = 0.087


def test_splits_share_no_photograph(photographs: Path) -> None:
    seen = {}
    for split in SPLITS:
        scenes = AdjustmentScenes(photographs, split=split, size_hw=(8, 8), seed=0)
        seen[split] = {scenes.pair(index).photograph for index in range(200)}
        assert all(split_of(name) == split for name in seen[split])
    assert not seen["train"] & seen["validation"] and not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]
    assert sum(map(len, seen.values())) == 40


def test_split_shares_are_near_80_10_10_and_examples_are_for_the_test() -> None:
    splits = [split_of(f"photograph-{number}") for number in range(5000)]
    assert abs(splits.count("train") / 5000 - 0.8) < 0.02
    assert abs(splits.count("validation") / 5000 - 0.1) < 0.02
    assert {split_of(f"some-{example}-picture") for example in EXAMPLES} == {"test"}


def test_the_split_of_a_name_never_changes() -> None:
    """The first eight bytes of `sha256sum`, modulo 10, are 7, 0 and 1."""
    assert [split_of(name) for name in ("photo-01", "photo-00", "photo-04")] == ["train", "test", "validation"]


def test_held_out_wordings_come_only_when_asked_for(photographs: Path) -> None:
    scenes = AdjustmentScenes(photographs, split="test", size_hw=(8, 8), seed=1, phrasing="held_out")
    for index in range(60):
        pair = scenes.pair(index)
        asked = tuple(word for word in words(pair.instruction) if word != "please")
        assert asked in {tuple(words(text)) for text in phrasings(pair.adjustment, "held_out")}


def test_only_what_shows_is_asked_of_a_grey_picture(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(60, 190, 40).astype(np.uint8)[None, :, None], 30, axis=0)
    Image.fromarray(np.repeat(ramp, 3, axis=2)).save(tmp_path / "grey.png")
    Image.fromarray(np.concatenate([ramp, ramp[:, ::-1], 0 * ramp], axis=2)).save(tmp_path / "red.png")
    scenes = AdjustmentScenes(tmp_path, split="train", size_hw=(8, 8), seed=0)
    pairs = [scenes.pair(index) for index in range(1000)]
    less_saturated = {pair.photograph for pair in pairs if pair.adjustment == Adjustment("less_saturation", "slight")}
    assert less_saturated == {"red"}
    assert {pair.photograph for pair in pairs if pair.category == "darker"} == {"grey", "red"}


def test_a_pair_comes_even_of_a_picture_that_cannot_change(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "black").save(tmp_path / "black.png")
    scenes = AdjustmentScenes(tmp_path, split="train", size_hw=(8, 8), seed=0)
    assert [scenes.pair(index).source.max() for index in range(20)] == [0] * 20


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


def test_alternatives_are_all_other_adjustments(scenes: AdjustmentScenes) -> None:
    pair = next(pair for pair in map(scenes.pair, range(100)) if pair.adjustment == Adjustment("sepia"))
    others = alternatives(pair)
    assert len(others) == 26
    assert not any(np.array_equal(other, pair.target) for other in others)
    assert_array_equal(others[0], Adjustment("black_and_white").apply_to_bytes(pair.source))
    nothing = next(pair for pair in map(scenes.pair, range(200)) if pair.adjustment is None)
    assert len(alternatives(nothing)) == 27


def test_large_photographs_are_held_small(tmp_path: Path) -> None:
    Image.new("RGB", (900, 600), "teal").save(tmp_path / "large.jpg")
    Image.new("RGB", (30, 20), "teal").save(tmp_path / "small.jpg")
    assert read_photograph(tmp_path / "large.jpg", 40).size == (60, 40)
    assert read_photograph(tmp_path / "small.jpg", 40).size == (30, 20)


def test_a_split_without_photographs_and_a_missing_folder_are_told(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "black.png")  # a training photograph
    with pytest.raises(InputMissing, match="split 'test'"):
        AdjustmentScenes(tmp_path, split="test", size_hw=(8, 8), seed=0)
    with pytest.raises(InputMissing, match="no folder"):
        AdjustmentScenes(tmp_path / "nowhere", split="test", size_hw=(8, 8), seed=0)


def test_a_contact_sheet_shows_each_pair_in_its_cell(scenes: AdjustmentScenes) -> None:
    pairs = [scenes.pair(index) for index in range(5)]
    sheet = contact_sheet(pairs, 2)
    cell_width, cell_height = 2 * 16 + 3 * GAP, 12 + 2 * GAP + CAPTION_LINES * LINE_HEIGHT
    assert sheet.size == (2 * cell_width, 3 * cell_height)
    pixels = np.asarray(sheet)
    x, y = cell_width + GAP, cell_height + GAP  # the fourth pair: second row, second column
    assert_array_equal(pixels[y : y + 12, x : x + 16], pairs[3].source)
    assert_array_equal(pixels[y : y + 12, x + 16 + GAP : x + 32 + GAP], pairs[3].target)
    caption = pixels[y + 12 : y + 12 + CAPTION_LINES * LINE_HEIGHT, x : x + 32]
    assert caption.min() < 100 and (pixels[2 * cell_height :, cell_width:] == 255).all()
