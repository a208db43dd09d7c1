"""Cut-outs: small pictures without fringes, loaded by the manifest; nouns that are held out whatever the pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from varedit.data.cutouts import FAINTEST_ALPHA, LONGEST_SIDE, cut_out, load_cutouts
from varedit.data.material_table import PictureGroup, material_sources
from varedit.data.splits import noun_split
from varedit.errors import InputMissing

DRAWN_BY_SCENES = {
    *("circle", "square", "rectangle", "triangle", "star", "heart", "diamond", "cross", "ring", "crescent", "moon"),
    "arrow",
}


def cutout_groups() -> list[PictureGroup]:
    return [group for source in material_sources() for group in source.groups if group.kind == "cutout"]


def red_disc(size: int, hidden: tuple[int, int, int]) -> Image.Image:
    """An opaque red disc in a transparent picture whose hidden colour is ``hidden``; 10 pixels of margin all round."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    inside = np.hypot(x, y) <= size / 2 - 10
    rgba = np.where(inside[..., None], (200, 0, 0, 255), (*hidden, 0)).astype(np.uint8)
    return Image.fromarray(rgba)


@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255), (0, 255, 0)])
def test_the_hidden_colour_of_transparent_pixels_leaves_no_fringe(hidden: tuple[int, int, int]) -> None:
    rgba = np.asarray(cut_out(red_disc(331, hidden))).astype(int)
    assert rgba.shape == (LONGEST_SIDE, LONGEST_SIDE, 4)
    edge = (rgba[..., 3] >= FAINTEST_ALPHA) & (rgba[..., 3] < 255)
    assert edge.sum() > LONGEST_SIDE
    # One level of an eight-bit colour that was multiplied by alpha is worth 255 / alpha, so at most 16 here.
    assert np.abs(rgba[edge][:, :3] - (200, 0, 0)).max() <= 16


def test_a_cut_out_is_cropped_to_what_is_seen_and_keeps_its_proportions() -> None:
    picture = np.zeros((300, 400, 4), dtype=np.uint8)
    picture[40:100, 50:290] = (9, 8, 7, 255)  # 240 x 60
    picture[0, 0] = (255, 255, 255, FAINTEST_ALPHA - 1)  # haze
    assert cut_out(Image.fromarray(picture)).size == (96, 24)


def test_a_small_cut_out_keeps_its_pixels() -> None:
    picture = np.random.default_rng(0).integers(FAINTEST_ALPHA, 256, (17, 11, 4), dtype=np.uint8)
    padded = np.pad(picture, ((3, 2), (1, 4), (0, 0)))
    assert_array_equal(np.asarray(cut_out(Image.fromarray(padded))), picture)


@pytest.fixture
def material(tmp_path: Path) -> Path:
    """Three cut-outs of two nouns and one photograph, as `varedit data fetch` lists them."""
    (tmp_path / "cutouts").mkdir()
    entries = [{"file": "photographs/sea.jpg", "kind": "photograph"}]
    for shade, (noun, name) in enumerate([("fire engine", "b"), ("duck", "b"), ("duck", "a")]):
        stem = f"{noun.replace(' ', '_')}--{name}"
        entries.append({"file": f"cutouts/{stem}.png", "kind": "cutout", "noun": noun})
        Image.new("RGBA", (5, 3 + shade), (shade, 20, 30, 40)).save(tmp_path / "cutouts" / f"{stem}.png")
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    return tmp_path


def test_cut_outs_are_loaded_in_the_order_of_their_names(material: Path) -> None:
    cutouts = load_cutouts(material / "cutouts")
    assert [(cutout.noun, cutout.name) for cutout in cutouts] == [
        ("duck", "duck--a"),
        ("duck", "duck--b"),
        ("fire engine", "fire_engine--b"),
    ]
    assert_array_equal(cutouts[0].rgba, np.full((5, 5, 4), (2, 20, 30, 40), dtype=np.uint8))
    assert [cutout.rgba.shape for cutout in cutouts] == [(5, 5, 4), (4, 5, 4), (3, 5, 4)]


def test_a_picture_that_the_manifest_does_not_list_is_left_alone(material: Path) -> None:
    (material / "cutouts" / "notes.png").write_text("not a picture")
    assert len(load_cutouts(material / "cutouts")) == 3


def test_missing_cut_outs_are_told_with_the_command_that_fetches_them(material: Path) -> None:
    command = re.escape(f"varedit data fetch -o {material}")
    (material / "cutouts" / "duck--a.png").unlink()
    with pytest.raises(InputMissing, match=rf"duck--a\.png.*{command}"):
        load_cutouts(material / "cutouts")
    (material / "cutouts" / "duck--a.png").write_text("damaged")
    with pytest.raises(InputMissing, match=rf"duck--a\.png.*{command}"):
        load_cutouts(material / "cutouts")
    (material / "manifest.json").write_text("[]")
    with pytest.raises(InputMissing, match=rf"lists no cut-outs.*{command}"):
        load_cutouts(material / "cutouts")
    (material / "manifest.json").unlink()
    with pytest.raises(InputMissing, match=rf"manifest\.json is missing.*{command}"):
        load_cutouts(material / "cutouts")
    with pytest.raises(InputMissing, match="nowhere is no folder of cut-outs"):
        load_cutouts(material / "nowhere")


def test_every_noun_is_one_or_two_plain_words_that_name_nothing_else() -> None:
    nouns = {noun for group in cutout_groups() for noun in group.nouns.values()}
    assert 60 <= len(nouns) <= 120
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)?", noun) for noun in nouns)
    assert nouns.isdisjoint(DRAWN_BY_SCENES)
    last_words = {noun for noun in nouns if " " not in noun}
    assert not [noun for noun in nouns if " " in noun and noun.split()[-1] in last_words]  # "the ball" would be unclear


def test_about_one_noun_in_eight_is_held_out() -> None:
    words = [f"{first}{second}" for first in "bcdfghjklm" for second in "aeiounprst"]
    held_out = [word for word in words if noun_split(word) == "held_out"]
    assert 5 <= len(held_out) <= 20  # 12.5 of 100, give or take two standard deviations
    nouns = {noun for group in cutout_groups() for noun in group.nouns.values()}
    shown = sorted(noun for noun in nouns if noun_split(noun) == "held_out")
    assert "balloon" in shown and "cat" not in shown  # as in the models that were trained with it: never to change
