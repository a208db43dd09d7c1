"""Edits simulated by a perfect or a noisy editor behind a lossy codec, carried over to the photograph.

The oracle is the true edit, computed at the photograph's own resolution.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tests.detail import LUMA, gradient_energy
from varedit.errors import UsageError
from varedit.full_size import Upsample
from varedit.restore import Restored, RestoreSettings, restore
from varedit.windows import Array

HEIGHT, WIDTH = 406, 602
SIZE = 64  # pixels of the simulated model, square
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Picture = NDArray[Any]
Edit = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # on (H, W, 3) in [0, 1]


def bilinear_to(height: int, width: int) -> Upsample:
    def upsample(maps: Array, rows: slice = slice(None)) -> Array:
        planes = torch.from_numpy(np.ascontiguousarray(maps))[None]
        upsampled: Array = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear")[0].numpy()
        return upsampled[:, rows]

    return upsample


def textured(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Picture:
    """(H, W, 3) uint8: colours at every size from a third of the picture down to the pixel, and some hard edges."""
    draws = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3))
    for cells, strength in ((3, 0.30), (8, 0.22), (24, 0.12), (80, 0.07), (240, 0.05)):
        grid = draws.uniform(-1, 1, (3, cells, cells * width // height)).astype(np.float32)
        layer = bilinear_to(height, width)(grid).transpose(1, 2, 0)
        picture += strength * (0.75 * layer.mean(axis=2, keepdims=True) * 1.7 + 0.5 * layer)
    picture += 0.18 * (ellipse(0.3, 0.6, 0.2) ^ ellipse(0.7, 0.3, 0.15))[..., None] if height == HEIGHT else 0
    return levels(0.5 + 0.75 * picture + draws.normal(0, 0.02, (height, width, 1)))


def ellipse(across: float, down: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot((columns + 0.5) / WIDTH - across, (rows + 0.5) / HEIGHT - down)
    return np.asarray(distance < radius)


def levels(picture: NDArray[np.float64]) -> Picture:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def decoded(picture: Picture, size: tuple[int, int] = (SIZE, SIZE)) -> Array:
    """What comes out of a lossy autoencoder of the given (width, height): (3, h, w) in [-1, 1]."""
    buffer = io.BytesIO()
    Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=30)
    pixels = np.asarray(Image.open(buffer), dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels / np.float32(127.5) - 1)


def noisy(result: Array, deviation: float, seed: int = 1) -> Array:
    """The result of a weak editor: errors that reach over two or three pixels."""
    draws = np.random.default_rng(seed).standard_normal(result.shape)
    smooth = draws + sum(np.roll(draws, shift, axis) for shift in (-1, 1) for axis in (1, 2)) / 2
    disturbed: Array = np.clip(result + deviation / smooth.std() * smooth, -1, 1).astype(np.float32)
    return disturbed


def simulated(photograph: Picture, edited: Picture, *, noise: float = 0.0, **options: Any) -> tuple[Restored, Picture]:
    """The restored edit and, to compare, the upsampled decoded result."""
    upsample = bilinear_to(*photograph.shape[:2])
    result = noisy(decoded(edited), noise) if noise else decoded(edited)
    restored = restore(photograph, decoded(photograph), result, upsample=upsample, **options)
    return restored, levels((upsample(result).transpose(1, 2, 0) + 1.0) / 2)


def psnr(left: Picture, right: Picture, where: NDArray[np.bool_] | None = None) -> float:
    difference = (left.astype(np.float64) - right)[... if where is None else where]
    return float(10 * np.log10(255**2 / (difference**2).mean()))


def detail(picture: Picture) -> NDArray[np.float64]:
    grey = Image.fromarray(levels(picture @ LUMA / 255))
    return np.asarray(grey, dtype=np.float64) - np.asarray(grey.filter(ImageFilter.BoxBlur(8)), dtype=np.float64)


def correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return float(np.corrcoef(left.ravel(), right.ravel())[0, 1])


def assert_same(left: Picture, right: Picture, share: float) -> None:
    """Equal pixels, or with noise on the result at least a share of them."""
    assert (left == right).all(axis=-1).mean() >= share


def dilated(where: NDArray[np.bool_], model_pixels: float) -> NDArray[np.bool_]:
    size = 2 * round(model_pixels * WIDTH / SIZE) + 1
    return np.asarray(Image.fromarray(where).convert("L").filter(ImageFilter.BoxBlur(size // 2))) > 0


@pytest.fixture(scope="module")
def photograph() -> Picture:
    return textured(3)


def grey(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.repeat((x @ LUMA)[..., None], 3, axis=2)


def vignette(x: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = np.linspace(-1, 1, HEIGHT)[:, None, None], np.linspace(-1, 1, WIDTH)[:, None]
    return x * (1 - 0.3 * (rows**2 + columns**2))


SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
TONE_EDITS: dict[str, tuple[Edit, float]] = {  # with the gain in dB over the upsampled result that each must reach
    "black and white": (grey, 15),
    "negative": (lambda x: 1 - x, 15),
    "sepia": (lambda x: x @ SEPIA.T, 10),
    "warmer": (lambda x: x * [1.12, 1.02, 0.85], 10),
    "brighter, clips": (lambda x: x * 1.4, 8),
    "darker": (lambda x: x**2.2 * 0.5, 6),
    "vignette": (vignette, 2),
}


# What is the same stays the same


@settings(max_examples=25)
@given(height=st.integers(1, 45), width=st.integers(1, 45), bits=st.sampled_from([8, 16]), seed=st.integers(0, 999))
def test_equal_bits_give_the_photograph_back(height, width, bits, seed):
    draws = np.random.default_rng(seed)
    photograph = draws.integers(0, 2**bits, (height, width, 3), dtype=f"uint{bits}")
    source = draws.uniform(-1, 1, (3, 14, 10)).astype(np.float32)
    restored = restore(photograph, source, source.copy(), upsample=bilinear_to(height, width))
    assert restored.rgb.dtype == photograph.dtype
    assert np.array_equal(restored.rgb, photograph)
    assert not restored.change.any()


@settings(max_examples=25)
@given(height=st.integers(60, 141), width=st.integers(60, 141), row=st.integers(0, 30), seed=st.integers(0, 999))
def test_pixels_between_unchanged_neighbours_are_exact(height, width, row, seed):
    draws = np.random.default_rng(seed)
    photograph = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
    source = draws.uniform(-1, 1, (3, 36, 40)).astype(np.float32)
    result = source.copy()
    result[:, row : row + 6, 4:15] = -result[:, row : row + 6, 4:15]
    upsample = bilinear_to(height, width)
    restored = restore(photograph, source, result, upsample=upsample)
    differs = np.zeros((1, 36, 40), np.float32)
    differs[0, max(row - 1, 0) : row + 7, 3:16] = 1
    is_between = upsample(differs)[0] == 0
    assert np.array_equal(restored.rgb[is_between], photograph[is_between])
    assert np.array_equal(restored.rgb[restored.change == 0], photograph[restored.change == 0])
    assert (restored.rgb != photograph).any()


def test_a_difference_below_the_threshold_is_no_edit(photograph):
    source = decoded(photograph)
    result = np.clip(noisy(source, 0.015), -1, 1)
    restored = restore(photograph, source, result, upsample=bilinear_to(HEIGHT, WIDTH))
    assert np.array_equal(restored.rgb, photograph)


def test_a_nil_quarter_stays_exact_under_an_edit_of_the_whole_pictures_tone(photograph):
    source = decoded(photograph)
    result = source * np.float32(0.6)
    height, width = source.shape[1] // 2, source.shape[2] // 2
    result[:, :height, :width] = source[:, :height, :width]
    upsample = bilinear_to(HEIGHT, WIDTH)
    restored = restore(photograph, source, result, upsample=upsample)
    differs = np.ones((1, *source.shape[1:]), np.float32)
    differs[0, : height - 1, : width - 1] = 0
    is_nil = upsample(differs)[0] == 0
    assert is_nil.mean() > 0.15
    assert np.array_equal(restored.rgb[is_nil], photograph[is_nil])
    assert (restored.rgb != photograph)[~is_nil].mean() > 0.5


# Tone, colour and light keep the detail


@pytest.mark.parametrize("noise", [0.0, 0.06])
@pytest.mark.parametrize("name", TONE_EDITS)
def test_a_tone_edit_keeps_the_photographs_detail(photograph, name, noise):
    edit, gain = TONE_EDITS[name]
    true = levels(edit(photograph / 255))
    restored, upsampled = simulated(photograph, true, noise=noise)
    assert psnr(restored.rgb, true) > psnr(upsampled, true) + gain
    assert 0.8 < gradient_energy(restored.rgb) / gradient_energy(true) < 1.2
    assert gradient_energy(upsampled) < 0.3 * gradient_energy(true)  # there was something to keep


def test_black_and_white_has_no_colour_and_all_detail(photograph):
    true = levels(grey(photograph / 255))
    restored, _ = simulated(photograph, true, noise=0.06)
    assert gradient_energy(restored.rgb) > 0.95 * gradient_energy(true)
    assert np.ptp(restored.rgb.astype(int), axis=2).mean() < 4


def large_photographs() -> list[Path]:
    found = []
    for path in sorted(EXAMPLES.glob("*.jpg")):
        with Image.open(path) as image:
            found += [path] if max(image.size) >= 3000 else []
    return found


@pytest.mark.skipif(not large_photographs(), reason="examples/ holds no photograph of 3000 pixels")
def test_a_real_photograph_in_black_and_white_keeps_its_detail():
    with Image.open(large_photographs()[0]) as image:
        photograph = np.asarray(image.convert("RGB"))
    true = levels(grey(photograph / 255))
    restored, _ = simulated(photograph, true)
    assert gradient_energy(restored.rgb) > 0.95 * gradient_energy(true)


def test_a_picture_larger_than_the_working_size_is_edited_alike(photograph):
    true = levels(1 - photograph / 255)
    restored, upsampled = simulated(photograph, true, settings=RestoreSettings(working_size=30))
    assert psnr(restored.rgb, true) > psnr(upsampled, true) + 15


def test_padding_does_not_outvote_a_narrow_photograph():
    narrow = textured(4, 400, 150)
    upsample = bilinear_to(400, 400)

    def in_a_white_square(picture: Picture) -> Picture:
        return np.pad(picture, ((0, 0), (0, 250), (0, 0)), constant_values=255)

    true = levels(1 - narrow / 255)
    restored = restore(
        narrow,
        decoded(in_a_white_square(narrow)),
        noisy(decoded(in_a_white_square(true)), 0.1),
        upsample=lambda maps, rows=slice(None): upsample(maps, rows)[:, :, :150],
        model_box=(0, 0, 150 / 400 * SIZE, SIZE),
    )
    assert psnr(restored.rgb, true) > 31


def test_bent_tones_are_followed_by_local_maps(photograph):
    true = levels((photograph / 255) ** 2.2 * 0.5)  # no affine map of the whole picture does this
    restored, _ = simulated(photograph, true, noise=0.06)
    assert psnr(restored.rgb, true) > 36.4


def test_a_clipping_edit_keeps_its_slope(photograph):
    true = levels((photograph / 255 - 0.45) * 3 + 0.5)
    assert ((true == 0) | (true == 255)).mean() > 0.3
    restored, _ = simulated(photograph, true)
    assert gradient_energy(restored.rgb) > 0.78 * gradient_energy(true)


# An edit of one thing


@pytest.mark.parametrize("noise", [0.0, 0.06])
def test_a_recoloured_object_keeps_its_detail_and_leaves_the_rest(photograph, noise):
    thing = ellipse(0.45, 0.5, 0.17)
    true = photograph.copy()
    true[thing] = levels(photograph[thing] / 255 * [0.9, 0.5, 0.4])[:, [2, 0, 1]] + 20
    restored, upsampled = simulated(photograph, true, noise=noise)
    inner, outer = ~dilated(~thing, 2), ~dilated(thing, 16)  # a JPEG's chroma blocks are 16 pixels
    assert psnr(restored.rgb, true, inner) > psnr(upsampled, true, inner) + 3
    assert correlation(detail(restored.rgb)[inner], detail(true)[inner]) > 0.95
    assert_same(restored.rgb[outer], photograph[outer], share=0.995 if noise else 1.0)
    assert restored.change[inner].min() == 255


@pytest.mark.parametrize("noise", [0.0, 0.06])
def test_an_added_object_is_there_without_what_it_hides(photograph, noise):
    thing = ellipse(0.6, 0.45, 0.16)
    true = photograph.copy()
    other = textured(9)
    true[thing] = levels((other[thing] / 255 - 0.5) * [0.9, 0.4, 0.4] + [0.7, 0.25, 0.2])
    restored, upsampled = simulated(photograph, true, noise=noise)
    inner, outer = ~dilated(~thing, 2), ~dilated(thing, 16)  # a JPEG's chroma blocks are 16 pixels
    assert psnr(restored.rgb, true, inner) > psnr(upsampled, true, inner) - 1.5
    hidden, seen = detail(photograph)[inner], detail(restored.rgb)[inner]
    assert abs((hidden * seen).sum() / (hidden**2).sum()) < 0.1
    assert_same(restored.rgb[outer], photograph[outer], share=0.995 if noise else 1.0)


def test_a_plain_object_shows_nothing_of_what_it_hides(photograph):
    thing = ellipse(0.5, 0.5, 0.1)
    true = photograph.copy()
    true[thing] = [240, 235, 230]
    restored, _ = simulated(photograph, true)
    inner = ~dilated(~thing, 2)
    hidden, seen = detail(photograph)[inner], detail(restored.rgb)[inner]
    assert abs((hidden * seen).sum() / (hidden**2).sum()) < 0.09


def test_the_seam_of_an_added_object_is_no_steeper_than_its_surroundings(photograph):
    thing = ellipse(0.6, 0.45, 0.16)
    true = photograph.copy()
    true[thing] = [200, 60, 50]
    restored, _ = simulated(photograph, true)
    steps = np.abs(np.diff(restored.rgb @ LUMA, axis=1))
    seam = (dilated(thing, 3) & dilated(~thing, 3))[:, 1:]
    local = np.abs(np.diff(photograph @ LUMA, axis=1))
    assert np.quantile(steps[seam], 0.999) <= np.quantile(local[seam], 0.999) * 1.1


@pytest.mark.parametrize("noise", [0.0, 0.06])
@pytest.mark.parametrize("slope", [0, 60])
def test_an_object_added_to_a_bare_sky_leaves_the_sky_alone(slope, noise):
    grain = np.random.default_rng(6).integers(-3, 4, (HEIGHT, WIDTH, 1))
    sky = np.full((HEIGHT, WIDTH, 3), [110, 150, 190]) + grain + slope * np.linspace(0, 1, HEIGHT)[:, None, None]
    sky, thing = sky.astype(np.uint8), ellipse(0.6, 0.45, 0.1)
    true = sky.copy()
    true[thing] = [200, 60, 50]
    restored, _ = simulated(sky, true, noise=noise)
    outer = ~dilated(thing, 16)
    assert_same(restored.rgb[outer], sky[outer], share=0.99 if noise else 1.0)
    assert np.abs(restored.rgb[~dilated(~thing, 2)].mean(axis=0) - [200, 60, 50]).max() < 20


def test_a_removed_object_leaves_no_ghost(photograph):
    thing = ellipse(0.5, 0.5, 0.1)
    with_it = photograph.copy()
    with_it[thing] = [250, 245, 240]
    restored, upsampled = simulated(with_it, photograph, noise=0.06)
    around = dilated(thing, 3)
    assert psnr(restored.rgb, photograph, around) > psnr(upsampled, photograph, around) - 1
    ghost = correlation(thing[around].astype(float), (restored.rgb - photograph.astype(float))[around] @ LUMA)
    assert abs(ghost) < 0.2


# An edit that goes by the colour of each pixel


FLOWERS = np.array([[0.2, 0.35, 0.7], [0.3, 0.5, 0.2], [0.7, 0.6, 0.45], [0.6, 0.3, 0.6]])  # the blue ones first


def meadow(seed: int) -> tuple[Picture, NDArray[np.bool_]]:
    """Blue, green, sand and purple in many small shapes under an uneven light, and where it is blue."""
    draws = np.random.default_rng(seed)
    kinds = bilinear_to(HEIGHT, WIDTH)(draws.uniform(-1, 1, (4, 7, 10)).astype(np.float32)).argmax(axis=0)
    light = 0.7 + 0.5 * bilinear_to(HEIGHT, WIDTH)(draws.uniform(0, 1, (1, 5, 7)).astype(np.float32))[0]
    picture = FLOWERS[kinds] * light[..., None] + draws.normal(0, 0.02, (HEIGHT, WIDTH, 1))
    return levels(picture), np.asarray(kinds == 0)


def averaged(picture: Picture) -> Array:
    """(3, h, w): an autoencoder without loss, whose chroma is as sharp as its luma, unlike a JPEG's."""
    small = Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1) / np.float32(127.5) - 1)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_blue_parts_turn_red_and_what_is_between_them_stays(noise):
    picture, is_blue = meadow(5)
    true = picture.copy()
    true[is_blue] = picture[is_blue][:, [2, 1, 0]]
    upsample = bilinear_to(HEIGHT, WIDTH)
    result = noisy(averaged(true), noise)
    restored = restore(picture, averaged(picture), result, upsample=upsample)
    upsampled = levels((upsample(result).transpose(1, 2, 0) + 1.0) / 2)
    assert psnr(restored.rgb, picture, ~is_blue) > 38
    assert psnr(restored.rgb, true, is_blue) > psnr(upsampled, true, is_blue) + 8
    assert (restored.rgb == picture).all(axis=2)[~is_blue].mean() > 0.75
    assert (restored.change == 0)[~is_blue].mean() > 0.6  # the change map shows the shapes themselves
    assert (restored.change == 255)[is_blue].mean() > 0.95


def test_a_mask_limits_an_edit_by_colour():
    picture, is_blue = meadow(5)
    true = picture.copy()
    true[is_blue] = picture[is_blue][:, [2, 1, 0]]
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[:, 200:] = 1
    free, _ = simulated(picture, true)
    limited, _ = simulated(picture, true, mask=mask)
    assert np.array_equal(limited.rgb[:, :200], picture[:, :200])
    assert np.array_equal(limited.rgb[:, 200:], free.rgb[:, 200:])


def test_the_same_colour_elsewhere_stays_where_only_one_place_was_recoloured():
    picture, _ = meadow(5)
    thing = ellipse(0.3, 0.5, 0.2)
    true = picture.copy()
    true[thing] = picture[thing][:, [2, 1, 0]]
    restored, _ = simulated(picture, true)
    outer = ~dilated(thing, 16)  # a JPEG's chroma blocks are 16 pixels
    assert_same(restored.rgb[outer], picture[outer], share=1.0)


def test_a_thing_before_a_new_background_stays(photograph):
    thing = ellipse(0.45, 0.5, 0.2)
    with_it = photograph.copy()
    with_it[thing] = textured(9)[thing]  # no colour of its own that a map or a table could tell it by
    true = with_it.copy()
    true[~thing] = [35, 60, 170]
    bleeding = np.array([-0.05, 0, 0.05], np.float32)[:, None, None]  # the new surroundings show in the thing
    result = noisy(averaged(true) + bleeding, 0.03)
    restored = restore(with_it, averaged(with_it), result, upsample=bilinear_to(HEIGHT, WIDTH))
    inner = ~dilated(~thing, 3)
    assert_same(restored.rgb[inner], with_it[inner], share=0.9)
    assert np.abs(restored.rgb[~dilated(thing, 3)] - np.array([35.0, 60.0, 170.0])).mean() < 12


# What no colour map explains


@pytest.mark.parametrize("noise", [0.0, 0.06])
def test_a_mirrored_picture_has_no_trace_of_the_unmirrored_one(photograph, noise):
    restored, upsampled = simulated(photograph, np.ascontiguousarray(photograph[:, ::-1]), noise=noise)
    ghost = abs(correlation(detail(restored.rgb), detail(photograph)))
    assert ghost <= abs(correlation(detail(upsampled), detail(photograph))) + 0.01
    assert psnr(restored.rgb, upsampled) > 35


@pytest.mark.skipif(not (EXAMPLES / "chelsea.jpg").exists(), reason="examples/ holds no such photograph")
@pytest.mark.parametrize("noise", [0.0, 0.06])
def test_a_mirrored_cat_which_is_nearly_symmetric_has_none_either(noise):
    with Image.open(EXAMPLES / "chelsea.jpg") as image:
        cat = np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT)))
    restored, upsampled = simulated(cat, np.ascontiguousarray(cat[:, ::-1]), noise=noise)
    assert psnr(restored.rgb, upsampled) > 35


@pytest.mark.parametrize("noise", [0.0, 0.06])
@pytest.mark.parametrize("kind", ["blurred", "pixelated"])
def test_a_blur_is_not_undone(photograph, kind, noise):
    image = Image.fromarray(photograph)
    small = image.resize((16, 16), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)
    true = np.asarray(small if kind == "pixelated" else image.filter(ImageFilter.GaussianBlur(16)))
    restored, upsampled = simulated(photograph, true, noise=noise)
    assert psnr(restored.rgb, true) > psnr(upsampled, true) - 0.5


@pytest.mark.parametrize("contrast", [0.95, 0.9])
@pytest.mark.parametrize("name", ["coffee", "chelsea", "blossom", "rocket"])
def test_a_slight_blur_is_not_taken_for_a_loss_of_contrast(name, contrast):
    """A weak editor blurs and pales. A paler picture explains part of that, and would keep the photograph's detail."""
    with Image.open(EXAMPLES / f"{name}.jpg") as opened:
        image = opened.convert("RGB").resize((WIDTH, HEIGHT))
    photograph, true = np.asarray(image), np.asarray(image.filter(ImageFilter.GaussianBlur(HEIGHT / 72)))
    source, blurred = (decoded(picture, (64, 64)) for picture in (photograph, true))
    result = noisy(blurred.mean() + contrast * (blurred - blurred.mean()), 0.02)
    restored = restore(photograph, source, result, upsample=bilinear_to(HEIGHT, WIDTH)).rgb.astype(int)
    to_blurred, to_photograph = (np.abs(restored - other).mean() for other in (true, photograph))
    assert to_blurred < 0.65 * to_photograph


# By decree, and by type


def test_a_mask_limits_the_change(photograph):
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[:, : WIDTH // 2] = 1
    mask[: HEIGHT // 2, : WIDTH // 2] = 0.5
    true = levels(1 - photograph / 255)
    free, _ = simulated(photograph, true)
    limited, _ = simulated(photograph, true, mask=mask)
    assert np.array_equal(limited.rgb[:, WIDTH // 2 :], photograph[:, WIDTH // 2 :])
    assert np.array_equal(limited.rgb[HEIGHT // 2 :, : WIDTH // 2], free.rgb[HEIGHT // 2 :, : WIDTH // 2])
    half = slice(None, HEIGHT // 2), slice(None, WIDTH // 2)
    expected = photograph[half] + 0.5 * (free.rgb[half] - photograph[half].astype(float))
    assert np.abs(limited.rgb[half] - expected).max() <= 1
    assert not simulated(photograph, true, mask=np.zeros_like(mask))[0].change.any()


def test_sixteen_bits_keep_their_finest_levels(photograph):
    draws = np.random.default_rng(2)
    fine = photograph.astype(np.uint16) * 257 // 2 + draws.integers(0, 2**14, photograph.shape, dtype=np.uint16)
    coarse = (fine // 257).astype(np.uint8)
    thing = ellipse(0.45, 0.5, 0.17)
    true = coarse.copy()
    true[thing] = 255 - true[thing]
    restored = restore(fine, decoded(coarse), decoded(true), upsample=bilinear_to(HEIGHT, WIDTH))
    assert restored.rgb.dtype == np.uint16
    assert np.array_equal(restored.rgb[restored.change == 0], fine[restored.change == 0])
    assert (restored.change == 0).mean() > 0.5
    inner = ~dilated(~thing, 3)
    assert psnr(restored.rgb // 257, true, inner) > 25
    assert len(np.unique(restored.rgb[inner] % 257)) > 200  # not 8-bit levels spread out


# Nothing shifts


def shift(left: Picture, right: Picture) -> tuple[float, float]:
    """(down, right) in pixels from one picture to the other: the peak of the smoothed phase correlation (Kuglin, Hines
    1975), by the parabola through the logarithms of its neighbours, which for a Gaussian is exact."""
    fade = np.outer(np.hanning(HEIGHT), np.hanning(WIDTH))
    cross, other = (np.fft.fft2((each @ LUMA - (each @ LUMA).mean()) * fade) for each in (right, left))
    cross = cross.conj() * other
    down, across = np.meshgrid(np.fft.fftfreq(HEIGHT), np.fft.fftfreq(WIDTH), indexing="ij")
    smooth = np.exp(-((down**2 + across**2) / 0.08**2) / 2)
    peak = np.fft.fftshift(np.fft.ifft2(cross / (np.abs(cross) + 1e-9) * smooth).real)
    row, column = np.unravel_index(peak.argmax(), peak.shape)
    vertical, horizontal = np.log(peak[row - 1 : row + 2, column]), np.log(peak[row, column - 1 : column + 2])
    offsets = [0.5 * (x[0] - x[2]) / (x[0] - 2 * x[1] + x[2]) for x in (vertical, horizontal)]
    return float(row - HEIGHT // 2 + offsets[0]), float(column - WIDTH // 2 + offsets[1])


@pytest.mark.parametrize("edit", [lambda x: x * [1.15, 1.02, 0.8], lambda x: x * 0.7 + 0.2], ids=["warmer", "faded"])
def test_a_whole_picture_edit_registers_against_the_photograph(photograph, edit):
    wide = Image.fromarray(photograph).resize((WIDTH * 10, HEIGHT), Image.Resampling.BICUBIC)
    moved = np.asarray(wide.transform(wide.size, Image.Transform.AFFINE, (1, 0, -3, 0, 1, 0)).resize((WIDTH, HEIGHT)))
    assert shift(moved, photograph) == pytest.approx((0, 0.3), abs=0.05)  # the measure itself sees a third of a pixel
    restored, _ = simulated(photograph, levels(edit(photograph / 255)))
    assert shift(restored.rgb, photograph) == pytest.approx((0, 0), abs=0.1)


# Mistakes


def test_sizes_and_types_that_do_not_fit_are_told(photograph):
    source = decoded(photograph)
    upsample = bilinear_to(HEIGHT, WIDTH)
    with pytest.raises(UsageError, match="float32"):
        restore(photograph.astype(np.float32), source, source, upsample=upsample)
    with pytest.raises(UsageError, match=r"\(3, 64, 63\)"):
        restore(photograph, source, source[:, :, 1:], upsample=upsample)
    with pytest.raises(UsageError, match=r"the mask is \(406, 601\)"):
        restore(photograph, source, source, upsample=upsample, mask=np.ones((406, 601), np.float32))


def test_how_many_rows_are_restored_at_once_changes_nothing(photograph, monkeypatch):
    edit, _ = next(iter(TONE_EDITS.values()))
    true = levels(edit(photograph / 255))
    whole, _ = simulated(photograph, true)
    monkeypatch.setattr("varedit.full_size.PIXELS_AT_ONCE", 7 * photograph.shape[1])
    parts, _ = simulated(photograph, true)
    np.testing.assert_array_equal(parts.rgb, whole.rgb)
    np.testing.assert_array_equal(parts.change, whole.change)
    assert whole.change.any()
