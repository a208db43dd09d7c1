"""Scenes of colours by name: on photographs of known colours, each target is what the instruction asks."""

from __future__ import annotations

import colorsys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from varedit.data.colour_scenes import LEAST_SHARE, SMALLEST_CHANGE, ColourScenes
from varedit.data.colours import COLOUR_NAMES, HUES, ColourName, colour_shares
from varedit.data.crops import PhotographCrops, mean_change, photograph_files
from varedit.data.language import words
from varedit.data.scene import Scene

SIZE = (16, 20)


def drawn(folder: Path, count: int, rotated_share: float = 0.0) -> list[Scene]:
    crops = PhotographCrops(photograph_files(folder), short_side=40)
    scenes = ColourScenes(crops, phrasing="train", rotated_share=rotated_share)
    return [scenes.scene(np.random.default_rng(index), SIZE) for index in range(count)]


@pytest.fixture(scope="module")
def blue_and_grey(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Scenes of one photograph whose upper half is blue and whose lower half is grey."""
    folder = tmp_path_factory.mktemp("photographs")
    pixels = np.full((40, 50, 3), 120, np.uint8)
    pixels[:20] = (50, 60, 200)
    Image.fromarray(pixels).save(folder / "half.png")
    return drawn(folder, 120)


def rows(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(is blue, is grey) by row: the crop shows where both meet."""
    vivid = np.ptp(scene.source.astype(int), axis=2).mean(axis=1)
    return vivid > 100, vivid < 15


def named(scene: Scene) -> list[str]:
    return [word for word in words(scene.instruction) if word in COLOUR_NAMES]


def test_only_the_colour_that_is_there_is_spoken_of(blue_and_grey: list[Scene]) -> None:
    assert {scene.category for scene in blue_and_grey} == {"recolour_part", "keep_only", "drain_part"}
    shown = [scene for scene in blue_and_grey if rows(scene)[0].mean() > LEAST_SHARE]
    assert len(shown) > 100
    assert {named(scene)[0] for scene in shown} == {"blue"}
    assert {named(scene)[1] for scene in shown if scene.category == "recolour_part"} == {*COLOUR_NAMES} - {"blue"}


def test_the_named_part_gets_the_hue_of_the_new_colour_and_all_else_stays(blue_and_grey: list[Scene]) -> None:
    for scene in blue_and_grey:
        blue, grey = rows(scene)
        if scene.category != "recolour_part" or not blue.any():
            continue
        assert_array_equal(scene.target[grey], scene.source[grey])
        _, lightness, saturation = colorsys.rgb_to_hls(*scene.source[blue][0, 0] / 255)
        to = next(name for name in COLOUR_NAMES if name == named(scene)[1])
        expected = colorsys.hls_to_rgb(sum(HUES[to]) / 720, lightness, max(saturation, 0.45))
        assert_allclose(scene.target[blue][0, 0] / 255, expected, atol=0.51 / 255)


def test_the_named_part_keeps_or_loses_its_colour(blue_and_grey: list[Scene]) -> None:
    seen: Counter[str] = Counter()
    for scene in blue_and_grey:
        blue, grey = rows(scene)
        luma = scene.source @ np.array([0.299, 0.587, 0.114])
        if scene.category == "keep_only":
            assert_array_equal(scene.target[blue], scene.source[blue])
            assert np.abs(scene.target[grey] - luma[grey][..., None]).max(initial=0) <= 0.501
        elif scene.category == "drain_part":
            assert np.abs(scene.target[blue] - luma[blue][..., None]).max(initial=0) <= 0.501
            assert_array_equal(scene.target[grey], scene.source[grey])
        seen[scene.category] += 1
    assert seen["recolour_part"] / len(blue_and_grey) == pytest.approx(0.5, abs=0.15)


def test_crops_are_drawn_until_the_edit_shows(tmp_path: Path) -> None:
    """Half of the photographs are grey, and grey ones cannot be asked for a colour."""
    random = np.random.default_rng(2)
    for number in range(6):
        Image.new("RGB", (40, 40), (110, 110, 110)).save(tmp_path / f"grey-{number}.png")
        blobs = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        blobs.resize((40, 40), Image.Resampling.BICUBIC).save(tmp_path / f"blobs-{number}.png")
    scenes = drawn(tmp_path, 60)
    assert all(scene.photograph.startswith("blobs") for scene in scenes)
    assert np.mean([mean_change(scene.source, scene.target) >= SMALLEST_CHANGE for scene in scenes]) > 0.95
    for scene in scenes:
        part: ColourName = next(name for name in COLOUR_NAMES if name == named(scene)[0])
        assert colour_shares(scene.source / 255)[part].mean() > LEAST_SHARE - 0.01
        assert len(scene.wrong(np.random.default_rng(0))) >= 7


def test_turned_hues_bring_colours_that_the_photograph_lacks(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (50, 60, 200)).save(tmp_path / "blue.png")
    assert {named(scene)[0] for scene in drawn(tmp_path, 40)} == {"blue"}
    assert len({named(scene)[0] for scene in drawn(tmp_path, 80, rotated_share=1.0)}) == len(COLOUR_NAMES)


def test_a_photograph_without_any_colour_gives_a_scene_in_which_nothing_changes(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (120, 120, 120)).save(tmp_path / "grey.png")
    scenes = drawn(tmp_path, 30)
    for scene in scenes:
        if scene.category != "keep_only":  # which takes the last trace of colour that the camera's variation left
            assert_array_equal(scene.target, scene.source)
