"""Everything untrusted, through the real command line and a real (toy) model folder.

Each case ends as the right picture, or as one sentence on stderr with an exit code of its own and nothing left behind.
How single readers and writers decide is tested beside them; here it is what a person at a shell sees.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin
from safetensors.numpy import load_file, save_file

import varedit
from tests.toys import picture, toy_pipeline
from varedit.cli import cli
from varedit.pipeline import VAREditPipeline
from varedit.provenance import read_provenance
from varedit.results import ScaleEvent

WIDTH, HEIGHT = 12, 10
WORDS = "make it warmer"
PHOTOGRAPH = picture(WIDTH, HEIGHT)
RGB = np.asarray(PHOTOGRAPH)
GREY = np.asarray(PHOTOGRAPH.convert("L"))
ORIENTATION = 0x0112


class Edit(Protocol):
    """`varedit edit IMAGE WORDS -m TOY -o OUTPUT` with more options, in the working folder of a test."""

    def __call__(
        self,
        *options: str,
        image: str = "cup.png",
        words: str = WORDS,
        output: str = "out.png",
        model: str | None = None,
        stdin: Any = None,
    ) -> Result: ...


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    folder = tmp_path_factory.mktemp("models") / "toy"
    toy_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with one photograph in it."""
    monkeypatch.chdir(tmp_path)
    PHOTOGRAPH.save("cup.png")
    return tmp_path


@pytest.fixture
def edit(toy: Path, capfd: pytest.CaptureFixture[str]) -> Edit:
    def run(*options, image="cup.png", words=WORDS, output="out.png", model=None, stdin=None) -> Result:
        arguments = ["edit", "-m", model or str(toy), "-o", output, *options, "--", image, words]
        result = CliRunner().invoke(cli, arguments, input=stdin, prog_name="varedit")
        assert capfd.readouterr() == ("", "")  # nothing passes by the command line, such as a C library's complaint
        return result

    return run


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """For calls that have to fail before a model is loaded."""

    def load(request: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("varedit.cli.edit.load_editor", load)


def files() -> dict[str, bytes]:
    """Every file and folder under the working folder; a folder has no bytes."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in Path().rglob("*")}


def assert_one_sentence(stderr: str) -> None:
    """One line that begins with "error: ", ends as a sentence, and holds nothing that only a terminal understands."""
    assert stderr.startswith("error: ") and stderr.endswith(".\n") and stderr.count("\n") == 1, stderr
    assert "Traceback" not in stderr
    assert all(letter.isprintable() and not "\u2500" <= letter <= "\u259f" for letter in stderr[:-1]), stderr


def assert_refused(code: int, *parts: str, call: Callable[[], Result]) -> None:
    """The call ends with a sentence that holds the parts, and leaves everything as it was."""
    before = files()
    result = call()
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert_one_sentence(result.stderr)
    for part in parts:
        assert part in result.stderr
    assert files() == before


def pixels_of(path: str) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert not image.getexif().get(ORIENTATION)
        pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# Pictures of every kind: with nothing allowed to change, the result is the picture itself, upright and in sRGB


@dataclass(frozen=True)
class Kind:
    """A file and what the result of not editing it must be."""

    data: bytes
    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    note: str = ""


def over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rounded to the nearest, by integers."""
    mixed = rgb.astype(int) * alpha[..., None] + 255 * (255 - alpha[..., None].astype(int))
    rounded: NDArray[np.uint8] = ((mixed + 127) // 255).astype(np.uint8)
    return rounded


def in_colours(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)


def lossy(kind: str) -> Kind:
    data = encoded(PHOTOGRAPH, kind)
    with Image.open(io.BytesIO(data)) as image:
        return Kind(data, np.asarray(image.convert("RGB")))


def with_alpha() -> Kind:
    alpha = np.linspace(0, 255, WIDTH * HEIGHT).astype(np.uint8).reshape(HEIGHT, WIDTH)
    image = Image.fromarray(np.dstack((RGB, alpha)))
    return Kind(encoded(image, "PNG"), over_white(RGB, alpha), alpha)


def hidden_colour() -> Kind:
    """Loud red under full transparency: none of it may be seen, whoever drops the alpha."""
    image = Image.new("RGBA", (WIDTH, HEIGHT), (255, 0, 0, 0))
    return Kind(encoded(image, "PNG"), np.full_like(RGB, 255), np.zeros((HEIGHT, WIDTH), np.uint8))


def grey_with_alpha() -> Kind:
    alpha = np.full((HEIGHT, WIDTH), 51, np.uint8)
    return Kind(encoded(Image.fromarray(np.dstack((GREY, alpha))), "PNG"), over_white(in_colours(GREY), alpha), alpha)


def palette(kind: str) -> Kind:
    """Three colours, the second of them see-through."""
    indices = np.arange(WIDTH * HEIGHT, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3
    image = Image.frombytes("P", (WIDTH, HEIGHT), indices.tobytes())
    colours = np.array([[10, 200, 30], [255, 0, 0], [40, 50, 60]], np.uint8)
    image.putpalette(colours.tobytes())
    clear = indices == 1
    rgb = np.where(clear[..., None], np.uint8(255), colours[indices])
    return Kind(encoded(image, kind, transparency=1), rgb, np.where(clear, 0, 255).astype(np.uint8))


def grey16() -> Kind:
    values = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    return Kind(encoded(Image.fromarray(values), "PNG"), in_colours(np.rint(values / 257).astype(np.uint8)))


def floats() -> Kind:
    values = np.linspace(0, 1, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH)
    return Kind(
        encoded(Image.fromarray(values), "TIFF"), in_colours(np.rint(values.astype(float) * 255).astype(np.uint8))
    )


def printing_colours() -> Kind:
    """Ink of one colour, or black: there every formula agrees."""
    ink = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    steps = np.linspace(0, 255, WIDTH).astype(np.uint8)
    for row in range(HEIGHT):
        ink[row, :, row % 4] = steps
    rgb = 255 - np.where(ink[..., 3:] > 0, ink[..., 3:], ink[..., :3])
    return Kind(encoded(Image.fromarray(ink, "CMYK"), "TIFF"), rgb, note="without a usable profile")


def first_frame(kind: str, **options: Any) -> Kind:
    second = Image.fromarray(255 - RGB)
    still = PHOTOGRAPH
    if kind == "GIF":
        still, second = PHOTOGRAPH.quantize(256), second.quantize(256)
    data = encoded(still, kind, save_all=True, append_images=[second], **options)
    return Kind(data, np.asarray(still.convert("RGB")), note="only the first frame is used")


def one_bit() -> Kind:
    dots = RGB[..., 1] > 128
    return Kind(encoded(Image.fromarray(dots), "PNG"), in_colours(np.where(dots, 255, 0).astype(np.uint8)))


def broken_profile() -> Kind:
    return Kind(encoded(PHOTOGRAPH, "PNG", icc_profile=b"no profile"), RGB, note="the colour profile cannot be used")


def broken_exif() -> Kind:
    return Kind(encoded(PHOTOGRAPH, "PNG", exif=b"Exif\0\0II*\0"), RGB, note="broken EXIF data was ignored")


def rgb16() -> Kind:
    """PNG of 16 bits a channel, which Pillow writes not and reads as 8."""
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in RGB)
    return Kind(png(WIDTH, HEIGHT, 16, 2, rows), RGB, note="16-bit colour was read as 8 bits")


def png(width: int, height: int, bits: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG written by hand, so that its header can say anything."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    parts = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


KINDS: dict[str, Callable[[], Kind]] = {
    "jpeg": lambda: lossy("JPEG"),
    "avif": lambda: lossy("AVIF"),
    "bmp": lambda: Kind(encoded(PHOTOGRAPH, "BMP"), RGB),
    "tiff": lambda: Kind(encoded(PHOTOGRAPH, "TIFF"), RGB),
    "webp": lambda: Kind(encoded(PHOTOGRAPH, "WEBP", lossless=True), RGB),
    "greyscale": lambda: Kind(encoded(PHOTOGRAPH.convert("L"), "PNG"), in_colours(GREY)),
    "one bit": one_bit,
    "alpha": with_alpha,
    "hidden colour": hidden_colour,
    "grey with alpha": grey_with_alpha,
    "palette png": lambda: palette("PNG"),
    "palette gif": lambda: palette("GIF"),
    "16-bit grey": grey16,
    "16-bit colour": rgb16,
    "floats": floats,
    "cmyk": printing_colours,
    "broken profile": broken_profile,
    "broken exif": broken_exif,
    "animated gif": lambda: first_frame("GIF"),
    "animated webp": lambda: first_frame("WEBP", lossless=True),
    "animated png": lambda: first_frame("PNG"),
    "two pages": lambda: first_frame("TIFF"),
}


def untouched(edit: Edit, image: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Result:
    """Edit with a mask that allows no change."""
    Image.new("L", size, 0).save("black.png")
    result = edit("--mask", "black.png", image=image)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_picture_of_any_kind_comes_back_in_srgb_bit_for_bit(edit, kind):
    expected = KINDS[kind]()
    Path("picture").write_bytes(expected.data)  # the bytes decide, not the suffix
    result = untouched(edit, "picture")
    pixels = pixels_of("out.png")
    assert np.array_equal(pixels[..., :3], expected.rgb)
    if expected.alpha is None:
        assert pixels.shape[2] == 3
    else:
        assert np.array_equal(pixels[..., 3], expected.alpha)
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: picture:")]
    assert len(notes) == bool(expected.note) and all(expected.note in note for note in notes)


TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {  # from how it looks to how it is stored
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_the_result_stands_upright_whatever_way_the_camera_was_held(edit, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = np.ascontiguousarray(TURNS[orientation](RGB))
    Image.fromarray(stored).save("turned.png", exif=exif)
    untouched(edit, "turned.png")
    assert np.array_equal(pixels_of("out.png"), RGB)


SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])  # both to D50


def display_p3() -> bytes:
    """The sRGB profile with the primaries of Display P3; both have the same curve."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for entry in range(132, 132 + 12 * int.from_bytes(profile[128:132]), 12):
        name, start = bytes(profile[entry : entry + 4]), int.from_bytes(profile[entry + 4 : entry + 8])
        if name in (b"rXYZ", b"gXYZ", b"bXYZ"):
            numbers = np.rint(P3[:, b"rgb".index(name[:1])] * 65536).astype(int)
            profile[start + 8 : start + 20] = struct.pack(">3i", *numbers.tolist())
    return bytes(profile)


def test_display_p3_is_converted(edit):
    PHOTOGRAPH.save("phone.png", icc_profile=display_p3())
    untouched(edit, "phone.png")
    encoded_light = RGB / 255
    light = np.where(encoded_light <= 0.04045, encoded_light / 12.92, ((encoded_light + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ (np.linalg.inv(SRGB) @ P3).T, 0, 1)
    expected = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    pixels = pixels_of("out.png")
    assert np.abs(pixels - expected).max() <= 2  # lcms computes with tables of 16 bits
    assert np.abs(pixels.astype(int) - RGB).max() > 8
    with Image.open("out.png") as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3)])
def test_the_smallest_and_thinnest_pictures_are_edited(edit, size):
    image = picture(*size)
    image.save("thin.png")
    untouched(edit, "thin.png", size)
    assert np.array_equal(pixels_of("out.png"), np.asarray(image))
    assert edit("--force", image="thin.png").exit_code == 0
    assert pixels_of("out.png").shape == (size[1], size[0], 3)


def test_jpeg_has_no_transparency_and_shows_white_there(edit):
    Image.new("RGBA", (WIDTH, HEIGHT), (255, 0, 0, 0)).save("clear.png")
    Image.new("L", (WIDTH, HEIGHT), 0).save("black.png")
    assert edit("--mask", "black.png", image="clear.png", output="out.jpg").exit_code == 0
    assert (pixels_of("out.jpg") == 255).all()


# What a result says of itself, and what it does not say of the photograph


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_result_tells_how_it_was_made_and_nothing_of_the_photographs_metadata(edit, suffix):
    exif = Image.Exif()
    exif[0x0110] = "SECRET-CAMERA"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.0), 27: b"SECRET-PLACE"})
    comments = PngImagePlugin.PngInfo()
    comments.add_text("Comment", "SECRET-TEXT")
    PHOTOGRAPH.save("holiday.jpg", exif=exif, comment=b"SECRET-COMMENT", xmp=b"<x>SECRET-XMP</x>")
    PHOTOGRAPH.save("holiday.png", exif=exif, pnginfo=comments)
    numbers = ["--seed", "12", "--guidance", "3.5", "--temperature", "0.25"]
    assert edit(*numbers, image=f"holiday.{suffix}", output=f"out.{suffix}").exit_code == 0
    assert b"SECRET" in Path(f"holiday.{suffix}").read_bytes()
    assert b"SECRET" not in Path(f"out.{suffix}").read_bytes()
    with Image.open(f"out.{suffix}") as image:
        assert not image.getexif().get_ifd(0x8825)
    told = read_provenance(Path(f"out.{suffix}"))
    assert told is not None
    assert {
        "instruction": WORDS,
        "seed": 12,
        "model": "toy",
        "guidance_scale": 3.5,
        "temperature": 0.25,
    }.items() <= told.items()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_no_metadata_means_none(edit, suffix):
    assert edit("--metadata", "none", output=f"out.{suffix}").exit_code == 0
    assert read_provenance(Path(f"out.{suffix}")) is None
    assert b"varedit" not in Path(f"out.{suffix}").read_bytes() and b"warmer" not in Path(f"out.{suffix}").read_bytes()


# Pictures that cannot be read


def bad_pictures() -> Iterator[tuple[str, bytes, str]]:
    """(name, bytes, part of the sentence)."""
    yield "empty.png", b"", "empty.png is empty"
    yield "text.png", b"this is no picture", "text.png looks like a text file"
    yield "page.jpg", b"<!DOCTYPE html><p>", "page.jpg looks like an HTML page"
    yield "drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"
    yield "paper.png", b"%PDF-1.7", "a PDF document"
    yield "script.png", b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript document"
    yield "noise.png", bytes(range(128, 256)), "noise.png is not a known kind of picture"
    yield "bomb.png", png(12000, 12000, 8, 2, b""), "bomb.png is 12000x12000; up to 50 megapixels are read"
    yield "vast.png", png(2**31 - 1, 2**31 - 1, 8, 0, b""), "vast.png has too many pixels"
    yield "long.png", png(40000, 2, 1, 0, b""), "long.png is 40000x2; sides up to 32768"
    yield "nothing.png", png(0, 5, 8, 0, b""), "nothing.png"
    for value in (np.nan, np.inf):
        yield f"{value}.tif", encoded(Image.fromarray(np.full((3, 4), value, np.float32)), "TIFF"), "not finite"
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        data = encoded(picture(37, 23), kind)
        for percent in (10, 50, 95):
            name = f"{percent}-percent.{kind.lower()}"
            yield name, data[: len(data) * percent // 100], f"{name} "
        name = f"hollow.{kind.lower()}"
        yield name, data[:12] + bytes(len(data) - 12), f"{name} "  # the right first bytes, and nothing behind them


@pytest.mark.parametrize(("name", "data", "part"), [pytest.param(*case, id=case[0]) for case in bad_pictures()])
def test_a_picture_that_cannot_be_read_is_one_sentence(no_model, edit, name, data, part):
    Path(name).write_bytes(data)
    assert_refused(65, part, call=lambda: edit(image=name))


def test_too_long_a_picture_is_one_sentence(edit):
    picture(600, 30).save("strip.png")
    assert_refused(65, "strip.png is 600x30", "16 times", call=lambda: edit(image="strip.png"))


@pytest.mark.parametrize("percent", [10, 50])
def test_a_damaged_mask_is_named(no_model, edit, percent):
    data = encoded(picture(WIDTH, HEIGHT), "PNG")
    Path("mask.png").write_bytes(data[: len(data) * percent // 100])
    assert_refused(65, "mask.png cannot be read", call=lambda: edit("--mask", "mask.png"))


def test_a_mask_of_another_size_is_named_with_both_sizes(no_model, edit):
    Image.new("L", (HEIGHT, WIDTH)).save("mask.png")
    assert_refused(65, "mask.png is 10x12 but the image is 12x10", call=lambda: edit("--mask", "mask.png"))


# Stdin


def test_stdin_may_hold_a_picture_and_stdout_the_result(edit):
    result = edit(image="-", output="-", stdin=Path("cup.png").read_bytes())
    with Image.open(io.BytesIO(result.stdout_bytes)) as image:
        assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))


@pytest.mark.parametrize("data", [b"", b"no picture", PHOTOGRAPH.tobytes()], ids=["empty", "text", "bare pixels"])
def test_stdin_without_a_picture_is_one_sentence(no_model, edit, data):
    assert_refused(65, "the image on stdin", call=lambda: edit(image="-", stdin=data))


def test_stdin_that_never_ends_is_read_up_to_the_limit(no_model, edit, monkeypatch):
    class Zeros(io.RawIOBase):
        taken = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.taken += len(buffer)
            return len(buffer)

    monkeypatch.setattr("varedit.images.MAX_BYTES", 1000)
    endless = Zeros()
    assert_refused(65, "the image on stdin", call=lambda: edit(image="-", stdin=io.BufferedReader(endless)))
    assert 1001 <= endless.taken <= 1001 + io.DEFAULT_BUFFER_SIZE


def test_a_closed_stdin_is_one_sentence(no_model, edit, monkeypatch):
    monkeypatch.setattr("varedit.cli.edit.sys", type("Closed", (), {"stdin": None, "stdout": sys.stdout}))
    assert_refused(66, "stdin is closed", call=lambda: edit(image="-"))


# Results that cannot be written


@pytest.mark.parametrize(
    ("output", "options", "part"),
    [
        ("out.docx", [], "out.docx has no known suffix"),
        ("out", [], "out has no known suffix"),
        ("out.gif", [], "out.gif has no known suffix"),
        ("old.png", [], "old.png exists"),
        ("cup.png", [], "cup.png exists"),
        ("busy", ["--force"], "busy/cup.png exists and is not a file"),
        ("old.png/out.png", [], "old.png"),
        ("o" * 300 + ".png", [], "cannot be written: File name too long"),
        ("o" * 300 + "/out.png", [], "cannot make the folder"),
        ("nul\0/out.png", [], "cannot make the folder nul"),
        ("out.png", ["--compare", "old.png"], "old.png exists"),
        ("out.png", ["--show-region", "old.png"], "old.png exists"),
        ("out.png", ["--previews", "steps"], "cup-scale-02.png exists"),
    ],
)
def test_a_result_that_cannot_be_written_is_refused_before_the_model_is_loaded(no_model, edit, output, options, part):
    Path("old.png").write_bytes(b"old")
    Path("busy/cup.png").mkdir(parents=True)
    Path("steps").mkdir()
    Path("steps/cup-scale-02.png").write_bytes(b"old")
    assert_refused(73, part, call=lambda: edit(*options, output=output))


@pytest.mark.parametrize(
    ("output", "options"), [("", []), ("out.png", ["--compare", ""]), ("out.png", ["--show-region", ""])]
)
def test_an_empty_name_is_no_place_in_the_root_folder(no_model, edit, output, options):
    assert_refused(2, "is empty; name a file", call=lambda: edit(*options, output=output))


def test_several_images_do_not_share_one_result(no_model, edit):
    picture(7, 5).save("cat.png")
    assert_refused(2, "several images need a folder or a pattern", call=lambda: edit("cat.png"))


@pytest.mark.parametrize(
    ("output", "options"),
    [("out.webp", []), ("out.png", ["--compare", "both.webp"]), ("out.png", ["--show-region", "region.webp"])],
)
def test_a_picture_too_wide_for_the_format_is_refused_before_the_model_is_loaded(no_model, edit, output, options):
    Image.new("1", (20_000, 2)).save("wide.png")
    assert_refused(73, "x2 pixels, but WEBP holds", call=lambda: edit(*options, image="wide.png", output=output))


def test_a_read_only_folder_is_named(no_model, edit, monkeypatch):
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("varedit.output.tempfile.TemporaryFile", refuse)  # permission bits do not stop root
    assert_refused(73, "cannot be written to: Read-only file system", call=lambda: edit(output="new.png"))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 73, "old.png cannot be written: No space left on device"),
        (OSError("gone"), 73, "old.png cannot be written: gone"),
    ],
)
def test_a_write_that_fails_halfway_keeps_the_old_file_and_leaves_no_other(edit, monkeypatch, call, error, code, part):
    Path("old.png").write_bytes(b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"os.{call}", fail)
    assert_refused(code, part, call=lambda: edit("--force", output="old.png"))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_stopping_in_the_middle_of_a_write_keeps_the_old_file(edit, monkeypatch, call):
    Path("old.png").write_bytes(b"old")
    before = files()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"os.{call}", stop)
    assert edit("--force", output="old.png").exit_code == 130
    assert files() == before


# Names


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nowhere.png", "nowhere.png does not exist"),
        (".", "is not a file"),
        ("", "the image without a name does not exist"),
        ("c" * 300 + ".png", "cannot be read: File name too long"),
        ("c/" * 3000 + ".png", "cannot be read: File name too long"),
        ("cup.png/cup.png", "cup.png/cup.png"),
        ("\x1b[31mred.png", " [31mred.png does not exist"),
        ("\udcff.png", "does not exist"),
        ("https://example.com/cup.png", "https://example.com/cup.png does not exist"),
    ],
)
def test_an_image_that_is_not_there_is_one_sentence(no_model, edit, name, part):
    assert_refused(66, part, call=lambda: edit(image=name))


def test_names_of_no_encoding_are_kept_byte_for_byte(edit):
    shutil.copy("cup.png", "\udcff.png")
    assert edit(image="\udcff.png", output="\udcfe.png").stdout_bytes == b"\xfe.png\n"
    record = json.loads(edit("--json", image="\udcff.png", output="\udcfd.png").stdout)
    assert (record["source"], record["output"]) == ("\udcff.png", "\udcfd.png")
    assert {b"\xfe.png", b"\xfd.png"} < {os.fsencode(path) for path in Path().iterdir()}


# Instructions


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "the instruction is empty"),
        (" \n\t ", "the instruction is empty"),
        ("\x00\x07\x1b", "the instruction is empty"),
        ("x" * 2001, "2001 characters"),
        ("word " * 10_000, "49999 characters; at most 2000 are read"),
        ("warm\udcff", "half of a character"),
    ],
    ids=["empty", "blank", "control characters", "one too many", "10000 words", "surrogate"],
)
def test_an_instruction_that_cannot_be_followed_is_refused_before_the_model_is_loaded(no_model, edit, words, part):
    assert_refused(2, part, call=lambda: edit(words=words))


@pytest.mark.parametrize(
    "words",
    [
        "اجعلها أدفأ",
        "把照片变暖",
        "暖かくして",
        "сделай теплее",
        "🐱🔥 👨\u200d👩\u200d👧",
        "say \"hi\" and 'it\\'s'",
        "$(id) `id` ; rm -rf ~",
        "<script>alert(1)</script>",
        "{stem} %s {0} [red]warm[/red]",
        "first\nsecond\ttab",
        "-o",
    ],
)
def test_an_instruction_in_any_language_is_only_data(edit, words):
    result = edit("--json", words=words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["settings"]["instruction"] == words
    told = read_provenance(Path("out.png"))
    assert told is not None and told["instruction"] == words
    assert sorted(files()) == ["cup.png", "out.png"]


def test_control_characters_of_an_instruction_reach_neither_the_terminal_nor_the_file(edit):
    result = edit(words="\x1b[31mwarmer\x07" + "\x01" * 100_000, output="out.jpg")  # EXIF holds 64 KB
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stderr and "\x07" not in result.stderr
    told = read_provenance(Path("out.jpg"))
    assert told is not None and told["instruction"] == "[31mwarmer"


def test_an_instruction_longer_than_the_model_reads_is_cut_and_this_is_said(edit):
    result = edit(words="warmer " * 280)
    assert result.exit_code == 0
    assert "note: the instruction has 281 tokens; only the first 12 were read\n" in result.stderr
    assert sorted(files()) == ["cup.png", "out.png"]


# Numbers and words of options


@pytest.mark.parametrize("option", ["--guidance", "--temperature"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e400", "31", "abc", "7abc", "", "1;5", "1,,5", "1,99"])
def test_a_number_out_of_range_is_refused_before_the_model_is_loaded(no_model, edit, option, value):
    told = {"1e400": "inf", "1,99": "99"}.get(value, value)
    assert_refused(2, option[2:], told, call=lambda: edit(f"{option}={value}"))


@pytest.mark.parametrize("option", ["--guidance", "--temperature"])
def test_numbers_for_fewer_scales_than_the_model_has_are_counted(edit, option):
    assert_refused(2, option[2:], "has 2 values", "scales", call=lambda: edit(f"{option}=1,5"))


@pytest.mark.parametrize("value", ["-1", str(2**63), "1.5", "1e3", "abc", "nan", ""])
def test_a_seed_that_is_none_is_named(no_model, edit, value):
    assert_refused(2, "--seed", value, call=lambda: edit(f"--seed={value}"))


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_first_and_the_last_seed_work(edit, seed):
    assert f"seed {seed}, model toy" in edit("--seed", str(seed)).stderr


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--precision", "nonsense"], "'nonsense' is not one of 'auto', 'float32', 'bfloat16', 'float16'"),
        (["--fit", "crop"], "'crop' is not one of"),
        (["--device", "toaster"], "there is no device 'toaster' here"),
        (["--device", "cuda:99"], "there is no device 'cuda:99' here"),
        (["--device", "meta"], "the device meta holds no numbers"),
        (["--device", ""], "there is no device '' here"),
        (["--speed", "1"], "--speed"),
    ],
)
def test_an_unknown_word_is_named(edit, options, part):
    assert_refused(2, part, call=lambda: edit(*options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_this_computer_has_not_is_named(edit):
    assert_refused(2, "there is no device 'cuda' here", call=lambda: edit("--device", "cuda"))


# Models


WEIGHTS = "model.safetensors"


def removed(name: str) -> Callable[[Path], object]:
    return lambda model: shutil.rmtree(model / name) if (model / name).is_dir() else (model / name).unlink()


def written(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda model: (model / name).write_bytes(data)


def cut(name: str, share: float) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        data = (model / name).read_bytes()
        (model / name).write_bytes(data[: int(len(data) * share)])

    return change


def header_lie(part: str, length: int) -> Callable[[Path], object]:
    """Another header length in front of the same bytes."""
    return lambda model: (model / part / WEIGHTS).write_bytes(
        struct.pack("<Q", length) + (model / part / WEIGHTS).read_bytes()[8:]
    )


def weights(part: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], object]:
    def apply(model: Path) -> None:
        held = load_file(model / part / WEIGHTS)
        change(held)
        save_file(held, model / part / WEIGHTS, metadata={"format": "pt"})

    return apply


def smaller(held: dict[str, Any]) -> None:
    name = next(name for name, value in held.items() if value.ndim > 1)
    held[name] = held[name][:, :-1].copy()


def config(**values: Any) -> Callable[[Path], object]:
    def apply(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return apply


def config_section(section: str, **values: Any) -> Callable[[Path], object]:
    def apply(model: Path) -> None:
        path = model / "config.json"
        held = json.loads(path.read_text())
        held[section] |= values
        path.write_text(json.dumps(held))

    return apply


PARTS = ("autoencoder", "transformer", "text_encoder")
BAD_MODELS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "no config": (removed("config.json"), 69, "has no config.json"),
    "config is no JSON": (written("config.json", b"{"), 2, "config.json is not valid JSON"),
    "config is empty": (written("config.json", b""), 2, "config.json is not valid JSON"),
    "config is binary": (written("config.json", bytes(range(256))), 69, "config.json cannot be read"),
    "config of others": (config(format="other"), 2, "this is not a varedit model folder"),
    "unknown key": (config(surprise=1), 2, "surprise"),
    "unknown key in a section": (config_section("transformer", surprise=1), 2, "surprise"),
    "newer format": (config(format_version=2), 2, "format version 2; upgrade varedit"),
    "width no number": (config_section("transformer", width="wide"), 2, "width must be a positive whole number"),
    "another size": (config_section("transformer", text_channels=17), 69, "null_text is (12, 16), not (12, 17)"),
    "schedule no grids": (config_section("schedule", templates={"square": [[1]]}), 2, "scale schedule"),
    "no tokenizer": (removed("tokenizer"), 69, "tokenizer/tokenizer.json is missing"),
    "no tokenizer file": (removed("tokenizer/tokenizer.json"), 69, "tokenizer/tokenizer.json is missing"),
    "tokenizer cut": (cut("tokenizer/tokenizer.json", 0.5), 69, "tokenizer cannot be read"),
    "tokenizer empty": (written("tokenizer/tokenizer.json", b""), 69, "tokenizer cannot be read"),
    "tokenizer of others": (written("tokenizer/tokenizer.json", b"[]"), 69, "tokenizer cannot be read"),
    "text encoder without config": (removed("text_encoder/config.json"), 69, "text_encoder/config.json is missing"),
    "text encoder config damaged": (written("text_encoder/config.json", b"{"), 69, "text_encoder cannot be read"),
}
for _part in PARTS:
    BAD_MODELS |= {
        f"no {_part}": (removed(_part), 69, f"{_part}"),
        f"no weights of {_part}": (removed(f"{_part}/{WEIGHTS}"), 69, f"{_part}"),
        f"{_part} cut": (cut(f"{_part}/{WEIGHTS}", 0.5), 69, f"{_part}"),
        f"{_part} empty": (written(f"{_part}/{WEIGHTS}", b""), 69, f"{_part}"),
        f"{_part} a pickle": (written(f"{_part}/{WEIGHTS}", b"\x80\x04\x95" + bytes(200)), 69, f"{_part}"),
        f"{_part} header huge": (header_lie(_part, 2**40), 69, f"{_part}"),
        f"{_part} header long": (header_lie(_part, 50_000_000), 69, f"{_part}"),
        f"{_part} header short": (header_lie(_part, 50), 69, f"{_part}"),
        f"{_part} wrong shape": (weights(_part, smaller), 69, f"{_part} do not fit config.json"),
        f"{_part} one weight less": (weights(_part, lambda held: held.pop(min(held))), 69, "is missing (1 such"),
        f"{_part} one weight more": (
            weights(_part, lambda held: held.update(surplus=np.zeros(3, np.float32))),
            69,
            "surplus has no place in the model",
        ),
    }


@pytest.mark.parametrize("case", BAD_MODELS)
def test_a_model_folder_with_a_fault_is_one_sentence(edit, toy, case):
    fault, code, part = BAD_MODELS[case]
    shutil.copytree(toy, "model")
    fault(Path("model"))
    assert_refused(code, part, call=lambda: edit(model="model"))


def test_a_tokenizer_with_more_words_than_the_text_encoder_knows_is_refused(edit, toy):
    shutil.copytree(toy, "model")
    path = Path("model/tokenizer/tokenizer.json")
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"]["zebra"] = len(tokenizer["model"]["vocab"])
    path.write_text(json.dumps(tokenizer))
    assert_refused(69, "16 words, but its text encoder knows 15", call=lambda: edit(model="model", words="zebra"))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("no such model", "there is no model folder no such model"),
        ("nowhere/at/all", "there is no model folder nowhere/at/all"),
        ("owner/name", "owner/name is not a folder, is not in the local cache, and the hub cannot be reached"),
        ("owner/..name", "owner/..name"),
        ("cup.png", "cup.png is a file"),
        ("./cup.png", "cup.png is a file"),
        (".", "has no config.json"),
        ("m" * 5000, "cannot be read: File name too long"),
        ("\udcff", "there is no model folder"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(edit, name, part):
    assert_refused(69, part, call=lambda: edit(model=name))


def test_whatever_fails_in_fetching_a_model_is_one_sentence(edit, monkeypatch):
    class ReadError(Exception):
        """As the hub's client passes on from its HTTP library: no OSError, and without a word."""

    def fail(*_: object, **__: object) -> None:
        raise ReadError

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    assert_refused(69, "owner/name could not be fetched: ReadError", call=lambda: edit(model="owner/name"))


# In the middle of an edit


@pytest.mark.parametrize(
    ("failure", "code", "part"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (MemoryError(), 70, "there is not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), 70, "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 70, "there is not enough memory"),
        (RuntimeError("shapes [2, 3] and\n[4, 5]"), 70, "RuntimeError: shapes [2, 3] and [4, 5]. This is a bug"),
        (AssertionError(), 70, "AssertionError. This is a bug"),
    ],
    ids=["ctrl-c", "memory", "device memory", "torch memory", "runtime", "assert"],
)
def test_whatever_happens_in_an_edit_the_old_result_stays_and_nothing_is_left(edit, monkeypatch, failure, code, part):
    Path("old.png").write_bytes(b"old")
    stream = VAREditPipeline.stream

    def fails_after_the_first_scale(*arguments: Any, **settings: Any) -> Iterator[ScaleEvent]:
        yield next(stream(*arguments, **settings))
        raise failure

    monkeypatch.setattr(VAREditPipeline, "stream", fails_after_the_first_scale)
    before = files()
    result = edit("--force", output="old.png")
    assert result.exit_code == code
    assert result.stdout == ""
    assert_one_sentence(result.stderr.removeprefix("\n"))  # of Ctrl-C: the shell's own line ends first
    assert part in result.stderr
    assert files() == before


# A process of its own: what Python, C libraries and transformers say by themselves shows only here


def process(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command: list[str | bytes] = [sys.executable, "-m", "varedit", "edit", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(varedit.__file__).parents[1])}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, env=environment, **options
    )


def test_a_process_that_gets_a_damaged_picture_says_one_sentence():
    data = encoded(picture(37, 23), "TIFF", compression="tiff_lzw")
    Path("half.tif").write_bytes(data[: len(data) // 2])
    done = process("half.tif", WORDS, "-o", "out.png", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (65, b"")
    assert_one_sentence(done.stderr.decode())
    assert sorted(files()) == ["cup.png", "half.tif"]


def test_a_process_that_gets_bytes_of_no_encoding_says_one_sentence():
    shutil.copy("cup.png", "\udcff.png")
    done = process(b"\xff.png", b"warmer \xff", "-o", "out.png", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, b"")
    assert_one_sentence(done.stderr.decode())
    assert "half of a character" in done.stderr.decode()


def test_a_process_that_gets_a_damaged_text_encoder_says_one_sentence(toy):
    shutil.copytree(toy, "model")
    weights("text_encoder", smaller)(Path("model"))
    done = process("cup.png", WORDS, "-m", "model", "-o", "out.png", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (69, b"")
    assert_one_sentence(done.stderr.decode())
    assert not Path("out.png").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_process_whose_stdout_is_full_says_one_sentence(toy):
    with Path("/dev/full").open("wb") as full:
        done = process("cup.png", WORDS, "-m", str(toy), "-o", "-", "--quiet", stdout=full)
    assert done.returncode == 73
    assert_one_sentence(done.stderr.decode())
    assert "stdout cannot be written: No space left on device" in done.stderr.decode()
