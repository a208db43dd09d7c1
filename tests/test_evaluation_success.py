"""What counts as success, on cases made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stub_scenes import BLUE, ELSEWHERE, OTHERS, RED, SQUARE, StubScene, StubScenes, painted
from varedit.evaluation.success import IDENTICAL_PSNR, Bytes, Readouts, Score, judged, l1, nearest, psnr

SCENES = StubScenes()
RECOLOUR, WHOLE = 0, 2


def score_of(index: int, result: Bytes, raw: Bytes | None = None) -> Score:
    raw = result if raw is None else raw
    return judged(SCENES.scene(index), SCENES.alternatives(index), Readouts(raw=raw, restored=result))


@pytest.mark.parametrize("index", [RECOLOUR, WHOLE])
def test_the_true_target_succeeds_with_the_full_margin(index):
    score = score_of(index, SCENES.scene(index).target)
    assert score.is_success and score.is_raw_success and score.failures() == []
    assert score.restored.margin == 1 and score.target_psnr == IDENTICAL_PSNR


@pytest.mark.parametrize("index", [RECOLOUR, WHOLE])
def test_a_copy_of_the_source_fails_as_nearer_to_the_source(index):
    score = score_of(index, SCENES.scene(index).source)
    assert not score.is_success and not score.is_raw_success
    assert score.restored.margin == pytest.approx(-1)
    assert score.failures() == ["nearer to the source"]


def test_a_wrong_colour_fails_by_the_alternative_that_it_is():
    scene = SCENES.scene(RECOLOUR)
    score = score_of(RECOLOUR, painted(scene.source, SQUARE, OTHERS[2]))
    assert score.failures() == ["nearer to alternative 3"]
    assert score.is_preserved


def test_a_wrong_strength_of_a_whole_picture_edit_fails_by_the_alternative_that_it_is():
    weaker = SCENES.alternatives(WHOLE)[1]
    assert score_of(WHOLE, weaker).failures() == ["nearer to alternative 2"]


def test_an_edit_that_spills_over_fails_although_its_changed_region_is_right():
    scene = SCENES.scene(RECOLOUR)
    spilt = scene.target.copy()
    outside = scene.mask == 0
    spilt[outside] += 24
    score = score_of(RECOLOUR, spilt)
    assert score.restored.is_target and not score.is_success
    decibels = 20 * np.log10(255 / 24)
    assert score.failures() == [
        "outside changed before restoring: L1 0.094 > 0.03",
        f"outside changed before restoring: {decibels:.1f} dB < 22",
        f"outside changed: {decibels:.1f} dB < 38",
    ]


def test_each_of_the_three_limits_on_the_outside_is_needed():
    scene = SCENES.scene(RECOLOUR)
    outside = np.argwhere(scene.mask == 0)
    slightly = scene.target.copy()
    slightly[scene.mask == 0] += 8  # L1 .0314, 30.1 dB
    spots = scene.target.copy()
    for row, column in outside[:: len(outside) // 4][:4]:  # few pixels, far off: a small L1 and a low PSNR
        spots[row, column] = 255
    by_l1, by_psnr = score_of(RECOLOUR, scene.target, slightly), score_of(RECOLOUR, scene.target, spots)
    after = score_of(RECOLOUR, slightly, scene.target)
    assert [failure.split(": ")[0] for failure in by_l1.failures()] == ["outside changed before restoring"]
    assert "L1" in by_l1.failures()[0]
    assert [failure.split(": ")[0] for failure in by_psnr.failures()] == ["outside changed before restoring"]
    assert "dB" in by_psnr.failures()[0]
    assert not by_l1.is_success and not by_psnr.is_success and by_l1.restored.is_target
    assert after.failures() == ["outside changed: 30.1 dB < 38"]
    assert after.is_raw_success and not after.is_success


def test_the_raw_result_is_judged_by_itself():
    scene = SCENES.scene(RECOLOUR)
    score = score_of(RECOLOUR, scene.target, raw=scene.source)
    assert score.is_success and not score.is_raw_success and score.raw.rival == "the source"


def test_an_alternative_that_is_right_inside_the_mask_is_compared_where_it_differs():
    scene = SCENES.scene(RECOLOUR)
    both = painted(scene.target, ELSEWHERE, BLUE)  # the last alternative itself
    score = score_of(RECOLOUR, both)
    assert score.restored.rival == "alternative 7" and score.restored.margin == -1


def test_a_draw_is_no_success():
    scene = SCENES.scene(RECOLOUR)
    middle = painted(scene.source, SQUARE, tuple((a + b) // 2 for a, b in zip(RED, BLUE, strict=True)))  # type: ignore[arg-type]  # three numbers
    exact = (scene.source.astype(int) + scene.target) % 2 == 0
    assert exact.all(), "the middle must be exact for a draw"
    draw = nearest(middle, scene, [("the source", scene.source)])
    assert draw.margin == 0 and not draw.is_target


def test_an_alternative_that_equals_the_target_decides_nothing():
    scene = SCENES.scene(RECOLOUR)
    alternatives = [scene.target, *SCENES.alternatives(RECOLOUR)]
    score = judged(scene, alternatives, Readouts(raw=scene.source, restored=scene.target))
    assert score.is_success


def test_a_whole_picture_edit_with_a_few_pixels_that_stay_has_no_outside():
    scene = SCENES.scene(WHOLE)
    mask = scene.mask.copy()
    mask[0, :2] = 0
    assert score_with(replace(scene, mask=mask)).outside is None
    mask[0, :3] = 0
    assert score_with(replace(scene, mask=mask)).outside is not None


def score_with(scene: StubScene) -> Score:
    return judged(scene, SCENES.alternatives(WHOLE), Readouts(raw=scene.target, restored=scene.target))


@given(st.integers(0, 255), st.integers(0, 255))
def test_distances_of_flat_pictures_follow_from_their_levels(first, second):
    a, b = (np.full((3, 5, 3), level, np.uint8) for level in (first, second))
    assert l1(a, b) == pytest.approx(abs(first - second) / 255)
    expected = IDENTICAL_PSNR if first == second else 20 * np.log10(255 / abs(first - second))
    assert psnr(a, b) == pytest.approx(expected)
