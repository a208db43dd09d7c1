"""Scenes of all families and splits: reproducible, of the right photographs, each with enough wrong alternatives."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.materials import HELD_OUT_NOUNS, TRAINING_NOUNS, write_cutouts, write_flat, write_material
from varedit.data.adjustments import ALL_ADJUSTMENTS
from varedit.data.edit_phrases import ColourEdit, ObjectEdit
from varedit.data.language import Phrasing, words
from varedit.data.phrases import phrasings
from varedit.data.scene import FAMILIES, distinct
from varedit.data.scenes import HELD_OUT_SEEDS, Scenes, SceneSplit, held_out_scenes
from varedit.data.splits import EXAMPLES, noun_split, split_of
from varedit.data.things import SHAPES_OF
from varedit.errors import InputMissing, UsageError

SPLITS: tuple[SceneSplit, ...] = get_args(SceneSplit)
SIZE = (28, 36)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"))


def scenes_of(material: Path, split: SceneSplit = "train", seed: int = 5) -> Scenes:
    return Scenes(material, split=split, size_hw=SIZE, seed=seed)


@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_follows_from_seed_and_index(material: Path, split: SceneSplit) -> None:
    first, again, other = scenes_of(material, split), scenes_of(material, split), scenes_of(material, split, seed=6)
    for index in (7, 0, 5, 123_456_789):  # out of order: no scene depends on those before it
        scene, same = first.scene(index), again.scene(index)
        assert (scene.instruction, scene.family, scene.photograph) == (same.instruction, same.family, same.photograph)
        assert_array_equal(scene.source, same.source)
        assert_array_equal(scene.target, same.target)
        assert not np.array_equal(scene.source, other.scene(index).source)
        for picture, equal in zip(first.alternatives(index), again.alternatives(index), strict=True):
            assert_array_equal(picture, equal)


def test_a_batch_is_its_scenes_stacked(material: Path) -> None:
    scenes = scenes_of(material)
    sources, instructions, targets, _ = scenes.batch([4, 9, 4], (10, 14))
    assert sources.shape == targets.shape == (3, 10, 14, 3)
    for position, index in enumerate([4, 9, 4]):
        scene = scenes.scene(index, size_hw=(10, 14))
        assert instructions[position] == scene.instruction
        assert_array_equal(sources[position], scene.source)
        assert_array_equal(targets[position], scene.target)
    assert scenes.batch([0]).sources.shape == (1, *SIZE, 3)


def test_a_batch_tells_the_layers_of_its_scenes(material: Path) -> None:
    scenes = scenes_of(material)
    layers = scenes.batch(range(60)).layers
    assert layers is not None
    for index in range(60):
        scene = scenes.scene(index)
        assert_array_equal(layers.changed[index], scene.mask)
        assert_array_equal(layers.things[index], 0 if scene.thing is None else scene.thing)
        taken, copied, is_new, log_scale, moved, *_ = layers.placements[index]
        assert taken == (scene.category in ("remove", "move", "bigger", "smaller", "replace"))
        assert copied == (scene.category in ("move", "bigger", "smaller"))
        assert is_new == (scene.category in ("add", "replace")) == layers.sprites[index].any()
        assert moved == (scene.category in ("add", "move"))
        size = {"bigger": 1.5, "smaller": 0.6, "add": 0.34}.get(scene.category, 1.0)
        assert math.exp(log_scale) == pytest.approx(size, rel=0.3 if scene.category == "replace" else 1e-6)
        if scene.placement is not None and scene.placement.sprite is not None:
            assert_array_equal(layers.sprites[index], scene.placement.sprite)
        assert layers.squares[index] == (scene.squares or 0)
    assert layers.placements[:, [0, 2]].any(axis=0).all() and layers.things.any(axis=(1, 2)).any()
    assert layers.squares.any()


@pytest.mark.parametrize("split", SPLITS)
def test_every_scene_has_at_least_seven_alternatives_and_none_is_source_or_target(
    material: Path, split: SceneSplit
) -> None:
    scenes = scenes_of(material, split)
    for index in range(150):
        scene, alternatives = scenes.scene(index), scenes.alternatives(index)
        assert 7 <= len(alternatives) <= 10, scene.instruction
        for picture in alternatives:
            assert picture.shape == (*SIZE, 3) and picture.dtype == np.uint8
            for other in (scene.source, scene.target):
                far = (np.abs(picture.astype(int) - other) > 4).any(axis=2)
                assert far.mean() > 0.005, scene.instruction


def test_the_mask_is_where_source_and_target_differ(material: Path) -> None:
    scenes = scenes_of(material)
    for index in range(40):
        scene = scenes.scene(index)
        for y, x in ((0, 0), (14, 18), (27, 35), (5, 30)):
            is_changed = tuple(scene.source[y, x]) != tuple(scene.target[y, x])
            is_whole = scene.family == "adjustment" and scene.category not in ("local", "nothing")
            assert scene.mask[y, x] == (255 if is_changed or is_whole else 0)
        assert scene.mask.shape == SIZE and scene.mask.dtype == np.uint8


def test_families_take_turns_where_models_are_compared_and_have_shares_in_training(material: Path) -> None:
    compared = scenes_of(material, "test")
    assert [compared.scene(index).family for index in range(6)] == [*FAMILIES, *FAMILIES]
    training = Scenes(material, split="train", size_hw=(8, 10), seed=5)
    counts = Counter(training.scene(index).family for index in range(400))
    assert counts["adjustment"] / 400 == pytest.approx(0.22, abs=0.06)
    assert counts["colour"] / 400 == pytest.approx(0.28, abs=0.06)
    assert counts["object"] / 400 == pytest.approx(0.5, abs=0.06)
    for scenes, of_pairs in ((training, 0.3), (compared, 0.14)):  # two adjustments at once are many kinds to learn
        adjustments = scenes.families["adjustment"]
        drawn = [adjustments.scene(np.random.default_rng(index), (8, 10)).category for index in range(200)]
        assert drawn.count("pair") / 200 == pytest.approx(of_pairs, abs=0.08)
    only_objects = Scenes(
        material, split="train", size_hw=(8, 10), seed=1, shares={"adjustment": 0.0, "colour": 0.0, "object": 1.0}
    )
    assert {only_objects.scene(index).family for index in range(40)} == {"object"}


def test_every_category_occurs_in_training_and_in_the_test(material: Path) -> None:
    whole = {"black_and_white", "sepia", "negative", "brighter", "darker", "more_contrast", "less_contrast", "fade"}
    whole |= {
        "more_saturation",
        "less_saturation",
        "warmer",
        "cooler",
        "vignette",
        "blur",
        "pixelate",
        "mirror",
        "tint",
    }
    expected = {*whole, "local", "pair", *get_args(ColourEdit), *get_args(ObjectEdit)}
    training = Scenes(material, split="train", size_hw=(8, 10), seed=5)
    assert {training.scene(index).category for index in range(700)} == expected | {"nothing"}
    compared = Scenes(material, split="test", size_hw=(8, 10), seed=5)
    assert {compared.scene(index).category for index in range(700)} == expected


def test_splits_share_no_photograph_and_no_seed(material: Path) -> None:
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        scenes = Scenes(material, split=split, size_hw=(8, 10), seed=0)
        seen[split] = {scenes.scene(index).photograph for index in range(250)} - {""}
    assert not seen["train"] & (seen["validation"] | seen["test"]) and not seen["validation"] & seen["test"]
    assert seen["generalisation"] == seen["test"] == {"photo-00", "photo-07", "photo-10", "photo-21"}
    assert seen["validation"] == {"photo-04", "photo-14", "photo-24", "texture-01", "texture-02"}
    assert all(split_of(name) == "train" for name in seen["train"]) and len(seen["train"]) == 33 + 8
    assert len(set(HELD_OUT_SEEDS.values())) == 3 and set(HELD_OUT_SEEDS) == set(SPLITS) - {"train"}


def test_the_fixed_scenes_are_those_of_the_seed_of_their_split(material: Path) -> None:
    for split, seed in HELD_OUT_SEEDS.items():
        fixed = held_out_scenes(material, split, SIZE).scene(4)
        assert_array_equal(fixed.target, scenes_of(material, split, seed=seed).scene(4).target)


def test_generalisation_speaks_of_held_out_things_and_training_never_does(material: Path) -> None:
    held_out = {*HELD_OUT_NOUNS, *(thing.words for thing in SHAPES_OF[True])}
    trained = {*TRAINING_NOUNS, *(thing.words for thing in SHAPES_OF[False])}
    for split in SPLITS:
        scenes = Scenes(material, split=split, size_hw=(8, 10), seed=3)
        texts = [f" {' '.join(words(scenes.scene(index).instruction))} " for index in range(300)]
        named = {name for name in held_out | trained if any(f" {name} " in text for text in texts)}
        assert named and named <= (held_out if split == "generalisation" else trained)


@pytest.mark.parametrize(("split", "phrasing"), [("train", "train"), ("test", "train"), ("generalisation", "held_out")])
def test_only_generalisation_uses_the_held_out_wordings(material: Path, split: SceneSplit, phrasing: Phrasing) -> None:
    known = {" ".join(words(text)) for each in (*ALL_ADJUSTMENTS, None) for text in phrasings(each, phrasing)}
    made = Scenes(material, split=split, size_hw=(8, 10), seed=2)
    scenes = [made.scene(index) for index in range(90)]
    whole = [scene for scene in scenes if scene.family == "adjustment" and scene.category not in ("pair", "local")]
    texts = {" ".join(word for word in words(scene.instruction) if word != "please") for scene in whole}
    assert texts and texts <= known


def test_split_shares_are_near_80_10_10_and_examples_are_for_the_test() -> None:
    splits = [split_of(f"photograph-{number}") for number in range(5000)]
    assert abs(splits.count("train") / 5000 - 0.8) < 0.02
    assert abs(splits.count("validation") / 5000 - 0.1) < 0.02
    assert {split_of(f"some-{example}-picture") for example in EXAMPLES} == {"test"}


def test_the_split_of_a_name_never_changes() -> None:
    """The first eight bytes of `sha256sum`, modulo 10, are 7, 0 and 1."""
    assert [split_of(name) for name in ("photo-01", "photo-00", "photo-04")] == ["train", "test", "validation"]
    assert [noun_split(noun) for noun in ("cat", "pear")] == ["train", "held_out"]


def test_missing_material_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no folder"):
        scenes_of(tmp_path)
    write_flat(tmp_path, (120, 120, 120))
    with pytest.raises(InputMissing, match=r"None of the 1 photographs.*'validation'"):  # the only one is for the test
        scenes_of(tmp_path, "validation")
    with pytest.raises(InputMissing, match="no folder of cut-outs"):
        scenes_of(tmp_path, "test")


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_come_to_an_end_on_grey_photographs_with_a_single_cutout(tmp_path: Path, split: SceneSplit) -> None:
    write_flat(tmp_path, (120, 120, 120), count=6)
    write_cutouts(tmp_path, ("cat",), np.random.default_rng(0))
    scenes = scenes_of(tmp_path, split)
    assert {scenes.scene(index).family for index in range(60)} == set(FAMILIES)


@pytest.mark.parametrize(
    "shares",
    [
        {"adjustment": 0.5, "colour": 0.5},
        {"adjustment": 0.5, "colour": 0.5, "object": 0.5},
        {"adjustment": 1.5, "colour": -0.5, "object": 0.0},
    ],
)
def test_shares_that_do_not_divide_the_scenes_are_told(material: Path, shares) -> None:
    with pytest.raises(UsageError, match="shares of the families"):
        Scenes(material, split="train", size_hw=SIZE, seed=0, shares=shares)


def test_distinct_pictures_differ_visibly_from_each_other_and_from_the_rest() -> None:
    black, dark, grey, white = (np.full((15, 15, 3), level, np.uint8) for level in (0, 4, 100, 255))
    speck = black.copy()
    speck[0, 0] = 255  # one pixel of 225
    spot = black.copy()
    spot[0, :2] = 255
    kept = distinct([black, dark, speck, spot, grey, grey, white], black, at_most=3)
    assert [int(picture.max()) for picture in kept] == [255, 100, 255] and kept[0] is spot and kept[2] is white
    assert len(distinct([grey, white], at_most=1)) == 1
