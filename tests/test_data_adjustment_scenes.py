"""Scenes of photo adjustments: each target is what the instruction asks of the source, and it shows."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from tests.materials import write_blobs
from varedit.data.adjustment_scenes import (
    PAIR_SHARE,
    SMALLEST_CHANGE,
    SMALLEST_LOCAL_CHANGE,
    AdjustmentScenes,
    are_at_odds,
    locally_adjusted,
    other_strengths,
    random_adjustment,
)
from varedit.data.adjustments import ALL_ADJUSTMENTS, Adjustment, Kind
from varedit.data.crops import PhotographCrops, mean_change, photograph_files
from varedit.data.language import Phrasing, words
from varedit.data.phrases import commands, local_phrasings, phrasings
from varedit.data.places import REGIONS
from varedit.data.scene import Scene
from varedit.mosaic import pixelated

SIZE = (36, 40)
TINTS = [kind for kind in get_args(Kind) if kind.endswith("_tint")]


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> PhotographCrops:
    folder = tmp_path_factory.mktemp("material") / "photographs"
    write_blobs(folder, "photo", 12, np.random.default_rng(0))
    return PhotographCrops(photograph_files(folder), short_side=36)


def drawn(crops: PhotographCrops, count: int, phrasing: Phrasing = "train", nothing: float = 0.1) -> list[Scene]:
    scenes = AdjustmentScenes(crops, phrasing=phrasing, nothing_share=nothing, pair_share=PAIR_SHARE)
    return [scenes.scene(np.random.default_rng(index), SIZE) for index in range(count)]


def bare(text: str) -> str:
    return " ".join(word for word in words(text) if word != "please")


def exact(adjustment: Adjustment, pixels: np.ndarray) -> np.ndarray:
    return adjustment.apply(pixels / 255) * 255


@pytest.mark.parametrize("phrasing", get_args(Phrasing))
def test_whole_picture_targets_are_what_the_wording_asks(crops: PhotographCrops, phrasing: Phrasing) -> None:
    asked = {bare(text): each for each in (*ALL_ADJUSTMENTS, None) for text in phrasings(each, phrasing)}
    scenes = [scene for scene in drawn(crops, 300, phrasing) if scene.category not in ("pair", "local")]
    for scene in scenes:
        adjustment = asked[bare(scene.instruction)]
        assert scene.source.dtype == scene.target.dtype == np.uint8 and scene.source.shape == (*SIZE, 3)
        if adjustment is None:
            assert scene.category == "nothing"
            assert_array_equal(scene.target, scene.source)
        else:
            assert scene.category == ("tint" if adjustment.kind in TINTS else adjustment.kind)
            assert np.abs(scene.target - exact(adjustment, scene.source)).max() <= 0.5 + 1e-3
            assert mean_change(scene.source, scene.target) >= SMALLEST_CHANGE
    assert len(scenes) > 100


@pytest.mark.parametrize("phrasing", get_args(Phrasing))
def test_local_targets_are_adjusted_in_the_place_that_the_wording_names(
    crops: PhotographCrops, phrasing: Phrasing
) -> None:
    asked = {
        bare(text): (adjustment, region)
        for adjustment, region in product(ALL_ADJUSTMENTS, REGIONS)
        for texts in local_phrasings(adjustment, region, phrasing)
        for text in texts
    }
    scenes = [scene for scene in drawn(crops, 200, phrasing) if scene.category == "local"]
    for scene in scenes:
        adjustment, region = asked[bare(scene.instruction)]
        assert adjustment.kind not in ("mirror", "vignette", "fade")
        assert_array_equal(scene.target, locally_adjusted(scene.source, adjustment, region))
        assert mean_change(scene.source, scene.target) >= SMALLEST_LOCAL_CHANGE
    assert len(scenes) > 30


def test_pair_targets_are_adjusted_twice_in_order(crops: PhotographCrops) -> None:
    asked = {bare(text): each for each in ALL_ADJUSTMENTS for texts in commands(each, "train") for text in texts}
    scenes = [scene for scene in drawn(crops, 300) if scene.category == "pair"]
    for scene in scenes:
        first, second = halves(bare(scene.instruction), asked)
        assert not are_at_odds(first.kind, second.kind)
        assert_array_equal(scene.target, second.apply_to_bytes(first.apply_to_bytes(scene.source)))
    assert len(scenes) > 20


def halves(text: str, asked: dict[str, Adjustment]) -> tuple[Adjustment, Adjustment]:
    """The only way to read a text as two commands."""
    [(first, second)] = [
        (text[: joint.start()], text[joint.end() :])
        for joint in re.finditer(" and then | and | then ", text)
        if text[: joint.start()] in asked and text[joint.end() :] in asked
    ]
    return asked[first], asked[second]


def test_the_squares_of_a_pixelated_picture_are_told(crops: PhotographCrops) -> None:
    scenes = AdjustmentScenes(
        crops, phrasing="train", nothing_share=0.1, pair_share=PAIR_SHARE, repeated=["pixelate"] * 8
    )
    found: Counter[str] = Counter()
    for scene in (scenes.scene(np.random.default_rng(index), SIZE) for index in range(200)):
        says_so = re.search("pixel|mosaic|block", scene.instruction, re.IGNORECASE) is not None
        assert (scene.squares is not None) == says_so, scene.instruction
        if scene.category == "pixelate":
            assert_allclose(pixelated(scene.target / 255, scene.squares or 0), scene.target / 255)
        found[scene.category if says_so else "none"] += 1
    assert all(found[category] > 5 for category in ("none", "pixelate", "local", "pair"))


def test_a_place_is_adjusted_inside_and_blended_at_its_border() -> None:
    source = np.random.default_rng(1).integers(0, 256, (10, 25, 3), dtype=np.uint8)
    target = locally_adjusted(source, Adjustment("negative"), "left")
    assert_array_equal(target[:, :11], 255 - source[:, :11])
    assert_array_equal(target[:, 14:], source[:, 14:])
    halfway = source[:, 12].astype(float) + 0.5 * (255 - 2 * source[:, 12].astype(float))
    assert_allclose(target[:, 12], halfway, atol=0.51)
    assert_allclose(target[:, 11].astype(float) - source[:, 11], 255 - 2.0 * source[:, 11], atol=0.51)


def test_all_kinds_are_drawn_alike_often_and_tints_together_as_one() -> None:
    random = np.random.default_rng(0)
    counts = Counter(random_adjustment(random) for _ in range(17_000))
    assert set(counts) == set(ALL_ADJUSTMENTS)
    by_kind: Counter[str] = Counter()
    for adjustment, count in counts.items():
        by_kind["tint" if adjustment.kind in TINTS else adjustment.kind] += count
    assert len(by_kind) == 17
    assert all(0.85 < count / 1000 < 1.15 for count in by_kind.values())


def test_repeated_kinds_are_drawn_as_much_more_often(crops: PhotographCrops) -> None:
    scenes = AdjustmentScenes(
        crops, phrasing="train", nothing_share=0.0, pair_share=0.0, repeated=("pixelate", "pixelate", "blur")
    )
    categories = Counter(scenes.scene(np.random.default_rng(index), SIZE).category for index in range(1500))
    whole = 1500 - categories["local"]
    assert categories["pixelate"] / whole == pytest.approx(3 / 20, abs=0.04)
    assert categories["blur"] / whole == pytest.approx(2 / 20, abs=0.03)
    assert categories["sepia"] / whole == pytest.approx(1 / 20, abs=0.025)


def test_nothing_local_and_pairs_have_their_shares(crops: PhotographCrops) -> None:
    categories = Counter(scene.category for scene in drawn(crops, 1000, nothing=0.06))
    assert categories["nothing"] / 1000 == pytest.approx(0.06, abs=0.02)
    assert categories["local"] / 1000 == pytest.approx(0.28, abs=0.04)
    assert categories["pair"] / 1000 == pytest.approx(0.14, abs=0.03)
    assert len(categories) == 3 + 17


def test_what_undoes_or_hides_each_other_is_at_odds() -> None:
    assert are_at_odds("brighter", "darker") and are_at_odds("darker", "brighter")
    assert are_at_odds("sepia", "warmer") and are_at_odds("red_tint", "blue_tint") and are_at_odds("blur", "blur")
    assert not are_at_odds("brighter", "warmer") and not are_at_odds("blur", "mirror")
    assert not are_at_odds("more_contrast", "sepia")
    assert other_strengths(Adjustment("blur")) == [Adjustment("blur", "slight"), Adjustment("blur", "strong")]
    assert other_strengths(Adjustment("mirror")) == []


def test_the_first_alternatives_are_the_likeliest_mistakes(crops: PhotographCrops) -> None:
    """Other strengths, half of a pair, and the adjustment of the whole picture instead of a part."""
    scenes = {scene.category: scene for scene in drawn(crops, 400)}
    random = np.random.default_rng(0)
    blur = scenes["blur"]
    blurs = [Adjustment("blur", strength).apply_to_bytes(blur.source) for strength in ("slight", "plain", "strong")]
    wrong = blur.wrong(random)[:2]
    assert sum(any(np.array_equal(each, other) for other in wrong) for each in blurs) == 2
    pictures = scenes["nothing"].wrong(random)
    assert_array_equal(pictures[0], Adjustment("black_and_white").apply_to_bytes(scenes["nothing"].source))
    assert len(pictures) == 10


def test_only_what_shows_is_asked_of_a_grey_picture(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(60, 190, 40).astype(np.uint8)[None, :, None], 30, axis=0)
    Image.fromarray(np.repeat(ramp, 3, axis=2)).save(tmp_path / "grey.png")
    Image.fromarray(np.concatenate([ramp, ramp[:, ::-1], 0 * ramp], axis=2)).save(tmp_path / "red.png")
    scenes = drawn(PhotographCrops(photograph_files(tmp_path), short_side=30), 600)
    assert {scene.photograph for scene in scenes if scene.category == "less_saturation"} == {"red"}
    assert {scene.photograph for scene in scenes if scene.category == "darker"} == {"grey", "red"}


def test_a_scene_comes_even_of_a_picture_that_cannot_change(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "black").save(tmp_path / "black.png")
    scenes = drawn(PhotographCrops(photograph_files(tmp_path), short_side=20), 40)
    assert [scene.source.max() for scene in scenes] == [0] * 40
