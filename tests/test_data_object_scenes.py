"""Scenes of objects, on flat backgrounds where every pixel that is not background belongs to a thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from varedit.data import object_scenes
from varedit.data.compositions import Composition, Placed
from varedit.data.crops import PhotographCrops, photograph_files
from varedit.data.cutouts import Cutout
from varedit.data.language import words
from varedit.data.object_scenes import KINDS, ObjectScenes, called, gradient, mean_change_where_changed
from varedit.data.places import CELLS, Region
from varedit.data.scene import Scene
from varedit.data.shapes import PAINT_NAMES, PAINTS, SHAPES, PaintName
from varedit.data.things import SHAPES_OF, DrawnShape
from varedit.transformer.collage import Layers, composed

SIZE = (48, 60)  # pixels; sizes of things are shares of 48
FAINTEST = 1  # levels: what is left of a colour in a pixel that an outline covers, or spares, too little to be seen
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> PhotographCrops:
    folder = tmp_path_factory.mktemp("photographs")
    Image.new("RGB", (60, 48), (115, 120, 118)).save(folder / "grey.png")
    return PhotographCrops(photograph_files(folder), short_side=48)


@pytest.fixture(scope="module")
def alone(grey: PhotographCrops) -> list[Scene]:
    """Scenes of one drawn shape on a flat background."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_scenes, "NUM_THINGS", (1,))
        return drawn(grey, 330)


def test_the_truth_tells_the_thing_and_where_it_is_shown_once_more(alone):
    """What the layers of the truth make of a scene is its target, but for the edges of things, which are resampled."""
    for kind in ("move", "bigger", "smaller"):
        left = []
        for scene in of_kind(alone, kind):
            assert scene.thing is not None and scene.placement is not None
            background = np.broadcast_to(background_of(scene), scene.source.shape)
            assert ((scene.thing > 0) == covered(scene.source, background)).mean() > 0.995
            made = collage_of(scene, background)
            error, change = (np.abs(each.astype(float) - scene.target).mean() for each in (made, scene.source))
            left.append(error / change)
        assert max(left) < 0.7 and np.mean(left) < 0.35, kind


def collage_of(scene: Scene, background: Picture) -> Picture:
    """The scene's thing pasted where the truth says, onto its background."""
    assert scene.placement is not None
    pictures = [torch.from_numpy(each.copy()).permute(2, 0, 1)[None].float() for each in (scene.source, background)]
    covered = scene.mask * 0 if scene.thing is None else scene.thing
    thing = torch.from_numpy(np.where(covered > 127, 9.0, -9.0)).float()[None, None]
    *choices, log_scale, moved, x, y = scene.placement_numbers
    placement = torch.tensor([[*(18 * choice - 9 for choice in choices), log_scale, 18 * moved - 9, x, y]])
    new = np.zeros((24, 24, 4), np.uint8) if scene.placement.sprite is None else scene.placement.sprite
    sprite = torch.from_numpy(new.copy()).permute(2, 0, 1)[None].float()
    sprite[:, 3] = sprite[:, 3] / 127.5 * 9 - 9
    layers = Layers(torch.full_like(thing, 9.0), thing, placement, sprite, torch.tensor([[9.0, -9.0, -9.0, -9.0]]))
    made = composed(pictures[0], pictures[1], layers)
    picture: Picture = made[0].permute(1, 2, 0).round().byte().numpy()
    return picture


def test_the_truth_tells_a_new_thing_and_where_it_stands(alone):
    for kind in ("add", "replace"):
        left = []
        for scene in of_kind(alone, kind):
            assert scene.placement is not None and scene.placement.sprite is not None
            assert (scene.thing is None) == (kind == "add") and scene.is_taken == (kind == "replace")
            background = scene.source if kind == "add" else np.broadcast_to(background_of(scene), scene.source.shape)
            error, change = (
                np.abs(each.astype(float) - scene.target).mean()
                for each in (collage_of(scene, background), scene.source)
            )
            left.append(error / change)
        assert max(left) < 0.7 and np.mean(left) < 0.25, kind


def test_other_edits_show_no_thing_over_all_else(alone):
    for kind in ("background", "remove", "recolour"):
        for scene in of_kind(alone, kind):
            assert scene.placement is None and scene.is_taken == (kind == "remove")
            assert (scene.thing is None) == (kind == "background")


def drawn(
    photographs: PhotographCrops, count: int, cutouts: tuple[Cutout, ...] = (), held_out: bool = False
) -> list[Scene]:
    """Scenes on photographs, those on plain backgrounds left out."""
    scenes = ObjectScenes(photographs, None, cutouts, phrasing="train", held_out=held_out)
    made = [scenes.scene(np.random.default_rng(index), SIZE) for index in range(count)]
    return [scene for scene in made if scene.photograph]


def of_kind(scenes: list[Scene], kind: str) -> list[Scene]:
    chosen = [scene for scene in scenes if scene.category == kind]
    assert len(chosen) > 15
    return chosen


def covered(picture: Picture, background: Picture) -> NDArray[np.bool_]:
    """(H, W): where something stands on the background."""
    differs: NDArray[np.bool_] = (picture != background).any(axis=2)
    return differs


def background_of(scene: Scene) -> Picture:
    """The colour of most of the source's edge, which at most one thing touches."""
    edge = np.concatenate([scene.source[0], scene.source[-1], scene.source[:, 0], scene.source[:, -1]])
    colours, counts = np.unique(edge, axis=0, return_counts=True)
    most: Picture = colours[counts.argmax()]
    return most


def box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right), the ends excluded."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def paint_of(picture: Picture, mask: NDArray[np.bool_]) -> PaintName:
    """The paint that most pixels of a thing have."""
    colours, counts = np.unique(picture[mask], axis=0, return_counts=True)
    most = tuple(colours[counts.argmax()])
    return next(name for name in PAINT_NAMES if PAINTS[name] == most)


def place_of(scene: Scene) -> Region:
    """The place that an instruction names."""
    rows = {"top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom"}
    said = words(scene.instruction)
    parts = [rows[word] for word in said if word in rows] + [word for word in said if word in ("left", "right")]
    return next(region for region in CELLS if region == ("_".join(parts) or "centre"))


def centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    top, bottom, left, right = box(mask)
    return np.array([(top + bottom) / 2, (left + right) / 2])


def test_removing_the_only_thing_gives_the_background_back(alone: list[Scene]) -> None:
    for scene in of_kind(alone, "remove"):
        assert_array_equal(scene.target, np.broadcast_to(background_of(scene), scene.target.shape))


def test_adding_puts_a_thing_of_its_colour_and_size_where_it_was_asked_for(alone: list[Scene]) -> None:
    for scene in of_kind(alone, "add"):
        new = scene.mask > 0
        assert_array_equal(scene.target[~new], scene.source[~new])
        assert not (covered(scene.source, background_of(scene)) & new).mean() > 0.01  # things may touch
        assert paint_of(scene.target, new) in words(scene.instruction)
        x, y = CELLS[place_of(scene)]
        assert np.abs(centre(new) - (y * SIZE[0], x * SIZE[1])).max() <= 1.5  # outlines are not all symmetrical
        top, bottom, left, right = box(new)
        assert 0.8 * 0.34 * 48 <= max(bottom - top, right - left) <= 0.34 * 48 + 1


def test_moving_takes_the_same_pixels_elsewhere(alone: list[Scene]) -> None:
    for scene in of_kind(alone, "move"):
        background = background_of(scene)
        before, after = covered(scene.source, background), covered(scene.target, background)
        assert before.sum() == after.sum()
        top, bottom, left, right = box(before)
        new_top, new_bottom, new_left, new_right = box(after)
        assert_array_equal(scene.target[new_top:new_bottom, new_left:new_right], scene.source[top:bottom, left:right])
        x, y = CELLS[place_of(scene)]
        assert np.abs(centre(after) - (y * SIZE[0], x * SIZE[1])).max() <= 1.5


@pytest.mark.parametrize(("kind", "factor"), [("bigger", 1.5), ("smaller", 0.6)])
def test_resizing_keeps_the_centre_and_the_colour(alone: list[Scene], kind: str, factor: float) -> None:
    for scene in of_kind(alone, kind):
        background = background_of(scene)
        before, after = covered(scene.source, background), covered(scene.target, background)
        if after[[0, -1]].any() or after[:, [0, -1]].any():
            continue  # cut off at the edge
        assert np.abs(centre(before) - centre(after)).max() <= 1.5
        assert paint_of(scene.source, before) == paint_of(scene.target, after)
        areas = [np.abs(picture.astype(int) - background).sum() for picture in (scene.source, scene.target)]
        assert np.sqrt(areas[1] / areas[0]) == pytest.approx(factor, abs=0.07)  # sides are whole pixels


def test_recolouring_paints_the_same_pixels(alone: list[Scene]) -> None:
    for scene in of_kind(alone, "recolour"):
        background = background_of(scene)
        thing = covered(scene.source, background)
        old, new = paint_of(scene.source, thing), paint_of(scene.target, thing)
        said = [word for word in words(scene.instruction) if word in PAINT_NAMES]
        assert old != new and said[-1] == new and set(said) <= {old, new}
        assert_allclose(scene.target[~thing].astype(int), scene.source[~thing], atol=FAINTEST)
        inside = (scene.source == PAINTS[old]).all(axis=2)
        assert_allclose(scene.target[inside].astype(int) - PAINTS[new], 0, atol=FAINTEST)


def test_replacing_puts_another_thing_in_the_same_place(alone: list[Scene]) -> None:
    for scene in of_kind(alone, "replace"):
        background = background_of(scene)
        before, after = covered(scene.source, background), covered(scene.target, background)
        said = words(scene.instruction)
        assert paint_of(scene.target, after) in said
        assert len([word for word in said if word in SHAPES]) == 2
        assert np.abs(centre(before) - centre(after)).max() <= 2


def test_a_new_background_leaves_the_things_alone(alone: list[Scene]) -> None:
    for scene in of_kind(alone, "background"):
        thing = covered(scene.source, background_of(scene))
        paint = paint_of(scene.target, ~thing)
        assert paint in words(scene.instruction) and paint != paint_of(scene.source, thing)
        assert_allclose(scene.target[~thing].astype(int) - PAINTS[paint], 0, atol=FAINTEST)
        inside = (scene.source == PAINTS[paint_of(scene.source, thing)]).all(axis=2)
        assert_allclose(scene.target[inside].astype(int), scene.source[inside], atol=FAINTEST)


def test_every_kind_comes_and_has_at_least_seven_alternatives(grey: PhotographCrops) -> None:
    scenes = drawn(grey, 120)
    assert {scene.category for scene in scenes} == set(KINDS)
    for scene in scenes:
        wrong = scene.wrong(np.random.default_rng(1))
        assert 7 <= len(wrong) <= 10
        for number, picture in enumerate(wrong):
            others = (scene.source, scene.target, *wrong[:number])
            assert not any(np.array_equal(picture, other) for other in others)


def spied_pictures(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The names of all things in each picture that is rendered from now on; the last two are a scene's."""
    pictures: list[set[str]] = []
    rendered = Composition.rendered

    def noted(self: Composition) -> Picture:
        pictures.append({placed.thing.words for placed in self.things})
        return rendered(self)

    monkeypatch.setattr(Composition, "rendered", noted)
    return pictures


CUTOUTS = tuple(
    Cutout(noun, np.full((6, 6, 4), (40 * number, 255, 90, 255), np.uint8), noun)
    for number, noun in enumerate(("apple", "cat", "ice cream", "pear"))
)


HELD_OUT = {"ice cream", "pear", *(thing.words for thing in SHAPES_OF[True])}


def test_training_never_shows_a_thing_that_is_held_out(grey: PhotographCrops, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = spied_pictures(monkeypatch)
    drawn(grey, 500, CUTOUTS)
    names = set().union(*pictures)
    assert {"apple", "cat"} <= names and not HELD_OUT & names


def test_generalisation_edits_held_out_things_among_others(
    grey: PhotographCrops, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = spied_pictures(monkeypatch)
    scenes = ObjectScenes(grey, None, CUTOUTS, phrasing="held_out", held_out=True)
    trained = {*(thing.words for thing in SHAPES_OF[False]), "apple", "cat"}
    edited, beside = set(), set()
    for index in range(250):
        scene = scenes.scene(np.random.default_rng(index), SIZE)
        names = pictures[-2] | pictures[-1]
        assert 1 <= len(HELD_OUT & names) <= 2, scene.instruction  # what is edited, and what it becomes
        assert not any(f" {name} " in f" {' '.join(words(scene.instruction))} " for name in trained)
        edited |= HELD_OUT & names
        beside |= trained & names
    assert edited == HELD_OUT and {"apple", "cat"} <= beside


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("colour", ["black", "white", (115, 120, 118)])
def test_scenes_come_to_an_end_without_cutouts_and_on_any_flat_photograph(
    tmp_path: Path, held_out: bool, colour: str | tuple[int, int, int]
) -> None:
    Image.new("RGB", (60, 48), colour).save(tmp_path / "flat.png")
    crops = PhotographCrops(photograph_files(tmp_path), short_side=48)
    for scene in drawn(crops, 60, held_out=held_out):
        assert mean_change_where_changed(scene.source, scene.target) >= 24


def test_textures_and_plain_backgrounds_come_as_often_as_they_should(tmp_path: Path) -> None:
    for name in ("photograph", "texture"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (60, 48), "gray").save(tmp_path / name / f"{name}.png")
    photographs, textures = (
        PhotographCrops(photograph_files(tmp_path / name), short_side=48) for name in ("photograph", "texture")
    )
    scenes = ObjectScenes(photographs, textures, (), phrasing="train", held_out=False)
    stems = [scenes.scene(np.random.default_rng(index), (16, 20)).photograph for index in range(600)]
    assert stems.count("") / 600 == pytest.approx(0.13, abs=0.04)
    assert stems.count("texture") / 600 == pytest.approx(0.12, abs=0.04)


def test_a_shape_goes_without_its_colour_only_where_it_is_the_only_one() -> None:
    shapes = (DrawnShape("ring", "red"), DrawnShape("ring", "blue"), DrawnShape("star", "red"))
    red, blue, star = (Placed(shape, 0.5, 0.5, 0.3) for shape in shapes)
    background = np.zeros((4, 5, 3), np.uint8)
    random = np.random.default_rng(0)
    two = [called(red.thing, Composition(background, (red, blue, star)), random) for _ in range(50)]
    one = [called(red.thing, Composition(background, (red, star)), random) for _ in range(300)]
    assert set(two) == {"red ring"} and set(one) == {"red ring", "ring"}
    assert one.count("ring") / 300 == pytest.approx(0.4, abs=0.08)


def test_a_plain_background_runs_from_one_colour_to_another() -> None:
    for seed in range(5):
        pixels = gradient(np.random.default_rng(seed), (40, 50)).astype(int)
        assert np.abs(np.diff(pixels, axis=0)).max() <= 5 and np.abs(np.diff(pixels, axis=1)).max() <= 5
        assert_array_equal(np.sign(pixels[-1, -1] - pixels[0, -1]), np.sign(pixels[-1, 0] - pixels[0, 0]))


def test_a_change_is_measured_where_pixels_differ() -> None:
    source = np.zeros((2, 3, 3), np.uint8)
    target = source.copy()
    assert mean_change_where_changed(source, target) == 0
    target[0, 1] = (30, 0, 60)
    assert mean_change_where_changed(source, target) == 30
