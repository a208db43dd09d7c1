"""Reading pictures that nobody vouches for, and fitting them to the model and back."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from varedit.errors import ImageError, InputMissing, MissingExtra, UsageError
from varedit.fit import FitMode, cover_crop, fit_picture
from varedit.images import Picture, load_mask, read_image
from varedit.source_size import to_source_size

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
RAMP = np.linspace(0, 65535, 15).round().astype(np.uint16).reshape(3, 5)


def photograph(width: int = 37, height: int = 23) -> Image.Image:
    """Smooth, asymmetric, a little noisy: no format compresses it to nothing."""
    rows, columns = np.mgrid[:height, :width]
    channels = np.stack((rows * 200 / height, columns * 200 / width, (rows + columns) * 90 / (height + width)), axis=-1)
    noise = np.random.default_rng(5).uniform(0, 40, channels.shape)
    return Image.fromarray((channels + noise).astype(np.uint8))


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, *, bits: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG written by hand, so that its header can say anything."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_with_green_and_red_exchanged() -> bytes:
    """The sRGB profile with two of its primaries swapped: a colour space whose red is green."""
    names = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}
    profile = bytearray(SRGB_PROFILE)
    for start in range(132, 132 + 12 * int.from_bytes(profile[128:132]), 12):
        name = bytes(profile[start : start + 4])
        profile[start : start + 4] = names.get(name, name)
    return bytes(profile)


# --- files that can be read -------------------------------------------------------------------------------------


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_allowed_format_is_read_by_its_bytes_whatever_its_suffix(tmp_path: Path, image_format: str):
    path = tmp_path / "picture.txt"
    path.write_bytes(encoded(photograph(), image_format))
    picture = read_image(path)
    assert (picture.source_format, picture.name) == (image_format, "picture.txt")
    assert (picture.width, picture.height, picture.alpha, picture.notes) == (37, 23, None, ())
    with Image.open(path) as image:
        assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_come_out_upright_and_equal(image_format: str, orientation: int):
    upright = np.asarray(photograph())
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), image_format, exif=exif, **options)
    picture = read_image(data)
    assert np.array_equal(picture.rgb, upright)
    assert 0x0112 not in picture.to_pil().getexif()


@pytest.mark.parametrize("image_format", ["JPEG", "AVIF"])
def test_lossy_formats_are_turned_once(image_format: str):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    stored = photograph().transpose(Image.Transpose.ROTATE_90)
    rgb = read_image(encoded(stored, image_format, exif=exif, quality=95)).rgb
    assert rgb.shape == (23, 37, 3)
    assert np.abs(rgb.astype(int) - np.asarray(photograph())).mean() < 12


@pytest.mark.parametrize(
    ("exif", "notes"),
    [
        (b"Exif\0\0II*\0", ("broken EXIF data was ignored",)),
        (b"Exif\0\0XX*\0\x08\0\0\0", ("broken EXIF data was ignored",)),
        (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", ()),  # of this Pillow only warns
    ],
)
@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_broken_exif_turns_nothing_and_costs_nothing(image_format: str, exif: bytes, notes: tuple[str, ...]):
    options = {"lossless": True} if image_format == "WEBP" else {}
    picture = read_image(encoded(photograph(), image_format, exif=exif, **options))
    assert np.array_equal(picture.rgb, np.asarray(photograph()))
    assert picture.notes == notes


def test_an_orientation_that_does_not_exist_turns_nothing():
    exif = Image.Exif()
    exif[0x0112] = 99
    assert np.array_equal(read_image(encoded(photograph(), "PNG", exif=exif)).rgb, np.asarray(photograph()))


HIDDEN = Image.fromarray(np.array([[[255, 0, 0, 0], [0, 0, 255, 255], [0, 100, 0, 51]]], dtype=np.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "RGBa"])
def test_colours_hidden_under_transparent_pixels_do_not_leak(mode: str):
    source = HIDDEN.convert(mode) if mode == "RGBa" else encoded(HIDDEN, "PNG")
    picture = read_image(source)
    assert picture.alpha is not None and picture.alpha.tolist() == [[0, 255, 51]]
    assert picture.rgb[0, :2].tolist() == [[255, 255, 255], [0, 0, 255]]
    assert picture.rgb[0, 2].tolist() == [204, 224, 204]  # 255 + (colour - 255) * 51 / 255
    assert picture.to_pil().getchannel("A").tobytes() == bytes([0, 255, 51])


@pytest.mark.parametrize("mode", ["LA", "La", "PA"])
def test_grey_and_palette_with_alpha_are_composited_over_white(mode: str):
    grey, alpha = Image.fromarray(np.array([[10, 90]], np.uint8)), Image.fromarray(np.array([[0, 255]], np.uint8))
    image = grey.convert("P") if mode == "PA" else grey
    image.putalpha(alpha)
    picture = read_image(image.convert("La") if mode == "La" else image)
    assert picture.alpha is not None and picture.alpha.tolist() == [[0, 255]]
    assert picture.rgb.tolist() == [[[255] * 3, [90] * 3]]


@pytest.mark.parametrize(
    ("image_format", "transparency"),
    [("PNG", 1), ("PNG", bytes([255, 0])), ("GIF", 1)],
    ids=["index in PNG", "byte string in PNG", "index in GIF"],
)
def test_palette_transparency_is_transparency(image_format: str, transparency: int | bytes):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 128, 0, 255, 0, 255])
    image.putdata([0, 1])
    picture = read_image(encoded(image, image_format, transparency=transparency))
    assert picture.rgb.tolist() == [[[0, 128, 0], [255, 255, 255]]]
    assert picture.alpha is not None and picture.alpha.tolist() == [[255, 0]]


def test_alpha_that_hides_nothing_is_no_alpha():
    assert read_image(encoded(photograph().convert("RGBA"), "PNG")).alpha is None


# --- deep pixels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_range_in_eight_bits_and_in_sixteen(image_format: str):
    picture = read_image(encoded(Image.fromarray(RAMP), image_format))
    assert np.array_equal(picture.rgb, np.repeat(np.rint(RAMP / 257).astype(np.uint8)[..., None], 3, axis=2))
    assert picture.rgb16 is not None and np.array_equal(picture.rgb16, np.repeat(RAMP[..., None], 3, axis=2))


def test_sixteen_bit_grey_with_a_transparent_value_is_white_there():
    image = Image.fromarray(RAMP)
    picture = read_image(encoded(image, "PNG", transparency=int(RAMP[1, 2])))
    expected = RAMP.copy()
    expected[1, 2] = 65535
    assert picture.rgb16 is not None and np.array_equal(picture.rgb16[..., 0], expected)
    assert picture.rgb[1, 2].tolist() == [255, 255, 255]
    assert picture.alpha is not None and np.argwhere(picture.alpha == 0).tolist() == [[1, 2]]


def test_twelve_bit_grey_is_scaled_by_its_own_white():
    packed = bytes([0xFF, 0xF8, 0x00])  # two pixels of 12 bits: 4095 and 2048
    entries = [(256, 3, 2), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 3, 1), (279, 4, 3)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    tiff = struct.pack("<2sHI", b"II", 42, 12) + packed + b"\0" + struct.pack("<H", len(entries)) + body + b"\0" * 4
    assert read_image(tiff).rgb[0, :, 0].tolist() == [255, 128]  # 2048 / 4095 * 255 = 127.5


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_is_read_as_eight_bits_and_says_so(colour_type: int, channels: int):
    values = np.linspace(0, 65535, 15 * channels).astype(">u2").reshape(3, 5 * channels)
    values[:, channels - 1 :: channels] = 65535  # opaque, where it is alpha
    data = png(5, 3, bits=16, colour_type=colour_type, rows=b"".join(b"\0" + row.tobytes() for row in values))
    picture = read_image(data)
    assert picture.notes == ("16-bit colour was read as 8 bits",) and picture.rgb16 is None
    expected = values.reshape(3, 5, channels)[..., 0] / 257
    assert np.abs(picture.rgb[..., 0] - expected).max() < 1


@pytest.mark.parametrize(
    ("values", "expected", "notes"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255], ()),
        (
            np.array([[0.0, 250, 1000]], np.float32),
            [0, 64, 255],
            ("values from 0 to 1000 were stretched to black and white",),
        ),
        (
            np.array([[-0.25, 0.25, 0.75]], np.float32),
            [0, 128, 255],
            ("values from -0.25 to 0.75 were stretched to black and white",),
        ),
        (
            np.array([[-70000, 0, 70000]], np.int32),
            [0, 128, 255],
            ("values from -70000 to 70000 were stretched to black and white",),
        ),
        (np.array([[7.0, 7.0]], np.float32), [0, 0], ("values from 7 to 7 were stretched to black and white",)),
    ],
    ids=["unit floats", "other floats", "floats below zero", "integers", "one value"],
)
def test_floats_and_integers_without_a_white_are_stretched(values, expected, notes):
    picture = read_image(encoded(Image.fromarray(values), "TIFF"))
    assert picture.rgb[0, :, 1].tolist() == expected
    assert picture.notes == notes


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float_picture_must_be_finite(value: float):
    data = encoded(Image.fromarray(np.array([[0, value]], np.float32)), "TIFF")
    with pytest.raises(ImageError, match=r"^x\.tiff holds numbers that are not finite\.$"):
        read_image(data, name="x.tiff")


# --- colour -----------------------------------------------------------------------------------------------------


def test_a_colour_profile_is_applied():
    profile = profile_with_green_and_red_exchanged()
    for image_format in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if image_format == "WEBP" else {}
        picture = read_image(encoded(photograph(), image_format, icc_profile=profile, **options))
        assert picture.notes == ()
        exchanged = np.asarray(photograph())[..., [1, 0, 2]].astype(int)
        assert np.abs(picture.rgb - exchanged).max() <= 3  # rounding inside lcms, largest in the dark


def test_an_srgb_profile_leaves_every_pixel_alone_whatever_rounding_its_maker_had():
    entry = SRGB_PROFILE.index(b"rXYZ")
    place = int.from_bytes(SRGB_PROFILE[entry + 4 : entry + 8]) + 8
    red = int.from_bytes(SRGB_PROFILE[place : place + 4]) + 90  # of 65536: four decimals instead of five
    nudged = SRGB_PROFILE[:place] + red.to_bytes(4) + SRGB_PROFILE[place + 4 :]
    for profile in (SRGB_PROFILE, nudged):
        picture = read_image(encoded(photograph(), "PNG", icc_profile=profile))
        assert np.array_equal(picture.rgb, np.asarray(photograph()))


def test_a_turned_picture_keeps_its_colour_profile():
    exif = Image.Exif()
    exif[0x0112] = 3
    turned, plain = (
        read_image(encoded(image, "PNG", icc_profile=profile_with_green_and_red_exchanged(), exif=tag)).rgb
        for image, tag in ((photograph().rotate(180), exif), (photograph(), Image.Exif()))
    )
    assert np.array_equal(turned, plain)


def test_transparency_survives_a_colour_profile():
    picture = read_image(encoded(HIDDEN, "PNG", icc_profile=profile_with_green_and_red_exchanged()))
    assert picture.alpha is not None and picture.alpha.tolist() == [[0, 255, 51]]
    assert picture.rgb[0, 0].tolist() == [255, 255, 255]
    assert np.abs(picture.rgb[0, 2].astype(int) - [224, 204, 204]).max() <= 1  # as without, but red for green


@pytest.mark.parametrize(
    ("mode", "profile", "note"),
    [
        ("RGB", b"junk", "the colour profile cannot be used and was ignored"),
        ("L", SRGB_PROFILE, "the colour profile cannot be used and was ignored"),
        ("RGB", b"\0" * (4 * 2**20 + 1), "the colour profile is too large and was ignored"),
    ],
    ids=["junk", "for another mode", "too large"],
)
def test_a_useless_colour_profile_is_ignored_with_a_note(mode: str, profile: bytes, note: str):
    image = photograph().convert(mode)
    picture = read_image(encoded(image, "TIFF", icc_profile=profile))
    assert picture.notes == (note,)
    assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))


def test_printing_colours_without_a_profile_are_converted_with_a_note():
    picture = read_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert picture.rgb[4, 4, 0] > 240 and picture.rgb[4, 4, 1:].max() < 15
    assert picture.notes == ("printing colours without a usable profile were converted by a plain formula",)


def test_printing_colours_with_a_profile_for_something_else_say_both():
    profile = SRGB_PROFILE
    assert len(read_image(encoded(Image.new("CMYK", (8, 8)), "TIFF", icc_profile=profile)).notes) == 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "LAB", "HSV", "YCbCr", "RGBX"])
def test_every_other_mode_becomes_rgb(mode: str):
    image = Image.new("LAB", (5, 4), (130, 140, 90)) if mode == "LAB" else photograph().convert(mode)
    picture = read_image(image)
    assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))


# --- files with more than one picture, or less ------------------------------------------------------------------


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_several_frames_the_first_is_used_with_a_note(image_format: str):
    first, second = Image.new("RGB", (16, 16), (250, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 250))
    picture = read_image(encoded(first, image_format, save_all=True, append_images=[second]))
    assert picture.rgb[8, 8, 0] > 200 and picture.rgb[8, 8, 2] < 50
    assert picture.notes == ("only the first frame is used",)


def test_a_telephones_multi_picture_jpeg_is_a_jpeg():
    data = encoded(photograph(), "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    picture = read_image(data)
    assert (picture.source_format, picture.width, picture.notes) == ("JPEG", 37, ())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("image_format", FORMATS)
def test_a_truncated_file_is_refused_and_never_half_read(image_format: str, share: float):
    data = encoded(photograph(width=97, height=61), image_format)  # so large that the last 1 % is more than checksums
    with pytest.raises(ImageError, match="the file ends early") as caught:
        read_image(data[: int(len(data) * share)])
    assert caught.value.code == "invalid_image"


def test_a_png_that_lost_only_its_end_mark_is_read():
    data = encoded(photograph(), "PNG")
    assert np.array_equal(read_image(data[:-12]).rgb, np.asarray(photograph()))


@pytest.mark.parametrize("image_format", FORMATS)
def test_flipped_bytes_give_a_picture_or_an_image_error_and_nothing_else(image_format: str):
    data = encoded(photograph(), image_format)
    random = np.random.default_rng(11)
    for _ in range(200):
        broken = bytearray(data)
        for place in random.integers(0, len(data), size=random.integers(1, 4)):
            broken[place] ^= int(random.integers(1, 256))
        try:
            picture = read_image(bytes(broken), max_pixels=1_000_000)
        except ImageError as error:
            assert str(error).startswith("the image ") and "\n" not in str(error)
        else:
            assert picture.rgb.dtype == np.uint8 and picture.rgb.ndim == 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"^x is empty\.$"),
        (b"hello, this is no picture\n", "looks like a text file"),
        ("héllo ".encode() * 400, "looks like a text file"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html></html>", "looks like an HTML page"),
        (b"%PDF-1.7\n%\xe2\xe3", "looks like a PDF document"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "looks like an SVG drawing"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "looks like a PostScript document"),
        (b"8BPS\0\1" + b"\0" * 40, "looks like a Photoshop document"),
        (b"PK\x03\x04" + b"\0" * 40, "looks like a ZIP archive"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 40, "looks like a video"),
        (bytes(range(128, 256)), "is not a known kind of picture; PNG, JPEG"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(data: bytes, words: str):
    with pytest.raises(ImageError, match=words) as caught:
        read_image(data, name="x")
    assert caught.value.code == "invalid_image"


@pytest.mark.parametrize("image_format", ["PPM", "TGA", "ICO", "PCX", "JPEG2000"])
def test_a_format_that_pillow_knows_and_we_do_not_allow_is_refused(image_format: str):
    with pytest.raises(ImageError, match=r"; PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF and .* are read"):
        read_image(encoded(photograph(), image_format))


def test_heic_names_the_extra_that_reads_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtra, match=r"pip install 'varedit\[heif\]'"):
        read_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40)


def test_a_missing_file_a_folder_and_a_strange_name_are_told_apart(tmp_path: Path):
    with pytest.raises(InputMissing, match="does not exist"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(InputMissing, match="cannot be read"):
        read_image(str(tmp_path / "a\0b.png"))


# --- size -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(12000, 12000), (20000, 20000), (2**31 - 1, 2**31 - 1)])
def test_a_header_that_claims_too_much_is_refused_before_decoding(size: tuple[int, int]):
    with pytest.raises(ImageError) as caught:
        read_image(png(*size, bits=8, colour_type=2, rows=b"\0" * 50))
    assert caught.value.code == "image_too_large"


def test_a_bomb_is_refused_without_its_memory():
    zeros = zlib.compressobj(9)
    rows = b"".join(zeros.compress(bytes(30001)) for _ in range(300)) + zeros.flush()
    data = png(30000, 30000, bits=8, colour_type=0, rows=b"")[:33] + struct.pack(">I", len(rows)) + b"IDAT" + rows
    script = (
        "import resource, sys; from varedit.images import read_image; from varedit.errors import ImageError\n"
        "data = sys.stdin.buffer.read(); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_image(data)\n"
        "except ImageError as error: print(error.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
    code, grown_kilobytes = done.stdout.split()
    assert code == b"image_too_large" and int(grown_kilobytes) < 16_000


def test_the_limits_are_on_pixels_sides_and_bytes():
    data = encoded(Image.new("RGB", (40, 30)), "PNG")
    assert read_image(data, max_pixels=1200).width == 40
    with pytest.raises(
        ImageError, match=r"^x is 40x30; up to 0\.001199 megapixels are read\. Make it smaller first\.$"
    ):
        read_image(data, max_pixels=1199, name="x")
    with pytest.raises(ImageError, match="sides up to 32768 pixels"):
        read_image(encoded(Image.new("L", (32769, 1)), "PNG"))
    with pytest.raises(ImageError, match="larger than"):
        read_image(data, max_bytes=len(data) - 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_a_picture_one_pixel_wide_is_a_picture(size: tuple[int, int]):
    picture = read_image(encoded(Image.new("RGB", size, (9, 8, 7)), "PNG"))
    assert (picture.width, picture.height) == size and (picture.rgb == [9, 8, 7]).all()


# --- arrays -----------------------------------------------------------------------------------------------------

HWC = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "source",
    [
        HWC,
        HWC.transpose(2, 0, 1),
        HWC[:, ::-1][:, ::-1],
        HWC.astype(np.float32) / 255,
        HWC / 255,
        torch.from_numpy(HWC),
        torch.from_numpy(HWC).permute(2, 0, 1).float().div(255).requires_grad_(),
        Image.fromarray(HWC),
    ],
    ids=["uint8", "channels first", "strided", "float32", "float64", "tensor", "float tensor", "Pillow"],
)
def test_arrays_tensors_and_images_read_the_same(source):
    picture = read_image(source)
    assert np.array_equal(picture.rgb, HWC) and picture.source_format is None
    assert picture.rgb.flags.owndata or picture.rgb.base is not HWC


def test_a_bfloat16_tensor_is_read_although_numpy_knows_none():
    assert read_image(torch.ones(3, 5, 7, dtype=torch.bfloat16)).rgb.min() == 255


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (1, 5, 7)])
def test_grey_arrays_become_rgb(shape: tuple[int, ...]):
    grey = np.arange(35, dtype=np.uint8).reshape(shape)
    assert np.array_equal(read_image(grey).rgb, np.repeat(grey.reshape(5, 7, 1), 3, axis=2))


def test_a_colour_array_one_pixel_high_or_wide_is_colour():
    assert np.array_equal(read_image(HWC[:1]).rgb, HWC[:1])
    assert np.array_equal(read_image(HWC[:, :1].transpose(2, 0, 1)).rgb, HWC[:, :1])


def test_the_fourth_channel_is_alpha():
    rgba = np.dstack((HWC, np.zeros((5, 7), np.uint8)))
    picture = read_image(rgba)
    assert picture.rgb.min() == 255 and picture.alpha is not None and picture.alpha.max() == 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((3, 7, 3), np.uint8), "can be read in two ways"),
        (np.zeros((5, 7, 2), np.uint8), "is no picture"),
        (np.zeros((1, 5, 7, 3), np.uint8), "is no picture"),
        (np.zeros((0, 7, 3), np.uint8), "it has no pixels"),
        (np.zeros((5, 7, 3), np.int64), "array of int64"),
        (np.full((5, 7, 3), np.nan, np.float32), "not all finite"),
        (np.full((5, 7, 3), -1.0, np.float32), "in 0..1"),
        (np.full((5, 7, 3), 255.0, np.float32), "in 0..1"),
        (torch.zeros(2, 3, 5, 7), "is no picture"),
        ([[0, 1]], "is a list"),
        (Image.new("RGB", (0, 4)), "it has no pixels"),
    ],
)
def test_an_array_that_leaves_a_doubt_is_refused(source, words: str):
    with pytest.raises(ImageError, match=words) as caught:
        read_image(source)
    assert caught.value.code == "invalid_image"


def test_reading_does_not_import_torch():
    script = "import sys, varedit.images, varedit.fit, varedit.output; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


# --- masks ------------------------------------------------------------------------------------------------------


def test_white_may_change_and_black_stays():
    grey = np.array([[0, 51, 255]], np.uint8)
    for source in (grey, encoded(Image.fromarray(grey), "PNG"), Image.fromarray(grey).convert("RGBA")):
        np.testing.assert_allclose(load_mask(source, 3, 1), [[0, 0.2, 1]], rtol=1e-6)
    assert load_mask(grey == 255, 3, 1).tolist() == [[0, 0, 1]]


def test_in_a_mask_with_holes_the_holes_may_change_whatever_the_colours():
    mask = load_mask(encoded(HIDDEN, "PNG"), 3, 1)
    np.testing.assert_allclose(mask, [[1, 0, 0.8]], rtol=1e-6)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(
        ImageError, match=r"^the mask is 7x5 but the image is 5x7\. Make their sizes equal\.$"
    ) as caught:
        load_mask(HWC, 5, 7)
    assert caught.value.code == "invalid_mask"


# --- to the model and back --------------------------------------------------------------------------------------


@pytest.mark.golden
def test_the_square_fit_and_the_training_crop_are_those_of_the_released_model(golden_dir: Path):
    from safetensors.numpy import load_file

    vectors = load_file(golden_dir / "preprocess.safetensors")
    cases = sorted({name.split(".")[0] for name in vectors})
    assert cases
    for case in cases:
        image, expected = vectors[f"{case}.image"], vectors[f"{case}.pixels"]
        pixels, fit = fit_picture(image, (expected.shape[2], expected.shape[1]), mode="square")
        np.testing.assert_allclose(pixels, expected, atol=2.01 / 255)  # a step of 1/255 in a range of 2
        output = (vectors[f"{case}.model_output_uint8"].astype(np.float32) + 0.5) / 255 * 2 - 1  # truncates back
        difference = fit.undo(output.transpose(2, 0, 1)).astype(int) - vectors[f"{case}.result"]
        assert np.abs(difference).max() <= 1
        training = vectors[f"{case}.training_pixels"]
        np.testing.assert_allclose(cover_crop(image, training.shape[1:]), training, atol=2.01 / 255)


def scene(width: int, height: int, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """A grey picture of a function of pixel centres, in 0..255."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.repeat(np.rint(function(columns, rows)).astype(np.uint8)[..., None], 3, axis=2)


sides = st.integers(1, 90)
model_sizes = st.sampled_from([(32, 32), (48, 16), (24, 40)])


@settings(max_examples=60, deadline=None)
@given(width=sides, height=sides, size=model_sizes, square=st.booleans())
def test_undo_gives_exactly_the_pictures_size_and_a_plain_colour_back(width, height, size, square):
    rgb = np.full((height, width, 3), (10, 128, 251), np.uint8)
    model_size = (size[0], size[0]) if square else size
    pixels, fit = fit_picture(rgb, model_size, mode="square" if square else "template")
    assert pixels.shape == (3, model_size[1], model_size[0]) and pixels.dtype == np.float32
    assert np.abs(pixels).max() <= 1
    result = fit.undo(pixels)
    assert result.shape == rgb.shape and result.dtype == np.uint8
    if not square:
        assert np.array_equal(result, rgb)
    assert to_source_size(fit, pixels[:2]).shape == (2, height, width)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(20, 90), height=st.integers(20, 90), square=st.booleans())
def test_a_ramp_comes_back_where_it_was(width: int, height: int, square: bool):
    rgb = scene(width, height, lambda x, y: 20 + 100 * x / width + 100 * y / height)
    pixels, fit = fit_picture(rgb, (64, 64), mode="square" if square else "template")
    inside = (slice(height // 4, -(height // 4)), slice(width // 4, -(width // 4)))  # edges bend, white bleeds in
    slope = 100 / max(width, height) if square else 100 / width  # levels a pixel
    difference = (fit.undo(pixels).astype(float) - rgb)[inside]
    assert abs(difference.mean()) < 0.15 * slope + (0.75 if square else 0.25)  # truncation lowers by a half


@pytest.mark.parametrize("mode", ["template", "square"])
@pytest.mark.parametrize(("width", "height"), [(61, 45), (45, 131), (131, 45), (200, 51), (37, 190)])
def test_a_spot_stays_at_its_place_to_a_tenth_of_a_model_pixel(mode: FitMode, width: int, height: int):
    left, top, spread = width * 0.47, height * 0.55, min(width, height) / 8
    rgb = scene(width, height, lambda x, y: 200 * np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * spread**2)))
    pixels, fit = fit_picture(rgb, (64, 64), mode=mode)
    model_pixel = max(1, fit.padded_width / 64, fit.padded_height / 64)

    def centre(grey: np.ndarray) -> tuple[float, float]:
        rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]] + 0.5
        near = np.hypot(columns - left, rows - top) < 2.5 * spread  # away from the border, where white bleeds in
        weights = np.where(near, grey.astype(float), 0)
        return float((weights * columns).sum() / weights.sum()), float((weights * rows).sum() / weights.sum())

    expected = pytest.approx(centre(rgb[..., 0]), abs=0.1 * model_pixel)
    assert centre(fit.undo(pixels)[..., 0]) == expected
    assert centre(to_source_size(fit, pixels[:1] + 1)[0]) == expected


def test_maps_line_up_with_the_geometry_that_the_fit_tells():
    rgb = np.zeros((20, 100, 3), np.uint8)
    _, fit = fit_picture(rgb, (48, 16), mode="template")
    assert (fit.padded_width, fit.padded_height, fit.offset) == (100, 34, (0, 7))
    assert fit.source_box == (0, 7, 100, 27)
    assert fit.model_box == pytest.approx((0, 7 * 16 / 34, 48, 27 * 16 / 34))
    columns = np.broadcast_to(np.arange(48, dtype=np.float32) + 0.5, (1, 16, 48))
    upsampled = to_source_size(fit, np.ascontiguousarray(columns))[0]
    expected = (np.arange(100) + 0.5) * 48 / 100
    np.testing.assert_allclose(upsampled[10, 3:-3], expected[3:-3], atol=1e-3)


def test_a_long_picture_is_padded_with_its_own_edges_and_nothing_is_cropped():
    rgb = scene(300, 30, lambda x, y: 100 + 3 * y)
    pixels, fit = fit_picture(rgb, (48, 16), mode="template")
    assert (fit.padded_width, fit.padded_height) == (300, 100)
    levels = (pixels[0] + 1) / 2 * 255
    assert levels[0] == pytest.approx(rgb[0, 0, 0], abs=1) and levels[-1] == pytest.approx(rgb[-1, 0, 0], abs=1)


def test_square_puts_white_at_the_right_and_bottom():
    pixels, fit = fit_picture(np.zeros((10, 40, 3), np.uint8), (40, 40), mode="square")
    assert (pixels[:, :8] == -1).all() and (pixels[:, 13:] == 1).all() and fit.offset == (0, 0)


@pytest.mark.parametrize("mode", ["template", "square"])
def test_the_longest_picture_is_sixteen_to_one_and_a_thin_line_counts_as_thicker(mode):
    size = (32, 32)
    for height, width in ((100, 1600), (1600, 100), (1, 500), (500, 1), (1, 1)):
        assert fit_picture(np.zeros((height, width, 3), np.uint8), size, mode=mode)[1].width == width
    for height, width in ((100, 1601), (4000, 100), (10, 5000)):
        with pytest.raises(ImageError, match=rf"^beach\.jpg is {width}x{height}; .* Crop it first\.$") as caught:
            fit_picture(np.zeros((height, width, 3), np.uint8), size, mode=mode, name="beach.jpg")
        assert caught.value.code == "unsupported_aspect"


def test_a_square_model_refuses_another_size():
    with pytest.raises(UsageError, match="48x32"):
        fit_picture(HWC, (48, 32), mode="square")


def test_undo_clamps_and_rounds_once():
    _, fit = fit_picture(HWC, (7, 5), mode="template")
    levels = np.array([-3.0, -1.0, 0.0, 0.49 / 127.5, 0.51 / 127.5, 1.0, 9.0], np.float32)
    result = fit.undo(np.broadcast_to(levels, (3, 5, 7)))
    assert result[2, :, 1].tolist() == [0, 0, 128, 128, 128, 255, 255]
    square = replace(fit, mode="square")
    assert square.undo(np.broadcast_to(levels, (3, 5, 7)))[2, :, 1].tolist() == [0, 0, 127, 127, 128, 255, 255]


@pytest.mark.parametrize(("size_hw", "shape"), [((16, 16), (40, 61)), ((24, 16), (61, 40)), ((7, 5), (7, 5))])
def test_the_training_crop_shows_the_middle(size_hw: tuple[int, int], shape: tuple[int, int]):
    rgb = scene(shape[1], shape[0], lambda x, y: 20 + 200 * x / shape[1])
    pixels = cover_crop(rgb, size_hw)
    assert pixels.shape == (3, *size_hw)
    middle = (pixels[0].mean() + 1) / 2 * 255
    assert middle == pytest.approx(120, abs=200 / size_hw[1] * 0.6)  # a floor may shift it by half a pixel


def test_a_picture_tells_its_size_and_turns_into_a_pillow_image():
    picture = Picture(rgb=HWC)
    assert (picture.width, picture.height, picture.to_pil().mode) == (7, 5, "RGB")
    assert np.array_equal(np.asarray(picture.to_pil()), HWC)
