"""Writing results: whole or not at all, with their own provenance and nothing of the source's."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from varedit.errors import ImageError, InputMissing, OutputError, UsageError
from varedit.images import read_image
from varedit.output import FORMAT_OF_SUFFIX, check_output_path, encode_image, save_image
from varedit.provenance import as_told, read_provenance

RGB = np.add.outer(np.arange(23)[:, None] * 4, np.arange(37)[:, None] * 3 + np.array([0, 20, 40])).astype(np.uint8)[
    :, 0
]
PROVENANCE = {
    "version": "1.2.3",
    "model": "toy",
    "revision": None,
    "instruction": 'mach\'s "blau" 🟦 und\n黑白',
    "seed": 2**63 - 1,
    "guidance_scale": 3.5,
    "schedule": [[1, 1], [2, 3]],
}
SUFFIXES = ("png", "jpg", "jpeg", "webp", "avif", "tif", "tiff")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_back_with_its_provenance(tmp_path: Path, suffix: str):
    path = tmp_path / f"out.{suffix.upper()}"
    save_image(RGB, path, provenance=PROVENANCE)
    picture = read_image(path)
    assert picture.source_format == FORMAT_OF_SUFFIX[f".{suffix}"]
    lossless = suffix in ("png", "tif", "tiff")
    assert np.abs(picture.rgb.astype(int) - RGB).max() <= (0 if lossless else 12)
    assert read_provenance(path) == PROVENANCE | ({} if lossless else {"quality": 95})
    assert picture.notes == ()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif", "tif"])
def test_a_result_names_its_software_and_is_marked_as_edited_by_a_model(tmp_path: Path, suffix: str):
    path = tmp_path / f"out.{suffix}"
    save_image(RGB, path, provenance=PROVENANCE)
    with Image.open(path) as image:
        software = image.info.get("Software") if suffix == "png" else image.getexif()[0x0131]
    assert software == "varedit 1.2.3"
    assert b"digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in path.read_bytes()


def test_a_file_may_be_told_less_than_there_is_to_tell():
    model = {"version": "1", "model": "mini", "repository": None, "revision": None, "model_sha256": "ab"}
    made = {**model, "instruction": "warmer", "seed": 3}
    assert as_told(made, "full") == made and as_told(made, "minimal") == model and as_told(made, "none") is None


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif", "tif"])
def test_without_provenance_the_file_is_pixels_alone(tmp_path: Path, suffix: str):
    path = tmp_path / f"out.{suffix}"
    save_image(RGB, path, provenance=None)
    assert read_provenance(path) is None
    assert b"varedit" not in path.read_bytes() and b"xmp" not in path.read_bytes().lower()


@pytest.mark.parametrize("suffix", ["png", "webp", "avif", "tif"])
def test_transparency_goes_into_formats_that_have_it(tmp_path: Path, suffix: str):
    alpha = np.full(RGB.shape[:2], 255, np.uint8)
    alpha[4:, :9] = 0
    path = tmp_path / f"out.{suffix}"
    save_image(RGB, path, alpha=alpha, provenance=None)
    written = read_image(path).alpha
    assert written is not None and np.abs(written.astype(int) - alpha).max() <= (3 if suffix == "avif" else 0)


def test_jpeg_leaves_transparency_out():
    data = encode_image(RGB, "JPEG", alpha=np.zeros(RGB.shape[:2], np.uint8), provenance=None)
    assert read_image(data).alpha is None


def test_a_lower_quality_makes_a_smaller_file_and_one_out_of_range_is_refused():
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for image_format in ("JPEG", "WEBP", "AVIF"):
        sizes = [len(encode_image(noise, image_format, provenance=None, quality=quality)) for quality in (20, 95)]
        assert sizes[0] < sizes[1]
    for quality in (0, 101):
        with pytest.raises(UsageError, match="quality"):
            encode_image(noise, "JPEG", provenance=None, quality=quality)


def test_jpeg_keeps_colour_at_full_resolution():
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (200, 40, 40), (40, 40, 200)
    picture = read_image(encode_image(stripes, "JPEG", provenance=None, quality=100))
    assert np.abs(picture.rgb.astype(int) - stripes).max() < 12


# --- nothing of the source ---------------------------------------------------------------------------------------

SECRETS = (b"SECRET-COMMENT", b"SECRET-XMP", b"SECRET-CAMERA", b"SECRET-TEXT", b"SECRET-GPS")


def photograph_with_secrets(image_format: str) -> bytes:
    exif = Image.Exif()
    exif[0x0110] = "SECRET-CAMERA"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.0), 27: b"SECRET-GPS"})
    options: dict[str, object] = {"exif": exif}
    if image_format == "JPEG":
        options |= {"comment": b"SECRET-COMMENT", "xmp": b"<x>SECRET-XMP</x>"}
    if image_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "SECRET-TEXT")
        text.add_itxt("XML:com.adobe.xmp", "<x>SECRET-XMP</x>")
        options["pnginfo"] = text
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("source_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif", "tif"])
def test_nothing_of_the_sources_metadata_comes_along(tmp_path: Path, source_format: str, suffix: str):
    source = photograph_with_secrets(source_format)
    assert sum(secret in source for secret in SECRETS) >= 3
    picture = read_image(source)
    path = tmp_path / f"out.{suffix}"
    save_image(picture.rgb, path, alpha=picture.alpha, provenance={"version": "1"})
    assert not any(secret in path.read_bytes() for secret in SECRETS)
    buffer = io.BytesIO()
    picture.to_pil().save(buffer, FORMAT_OF_SUFFIX[f".{suffix}"])  # what a Python user would do
    assert not any(secret in buffer.getvalue() for secret in SECRETS)
    with Image.open(path) as image:
        assert not image.getexif().get_ifd(0x8825)


# --- whole or not at all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out", "out.bmp", "out.heic", "out.png.txt", ".png"])
def test_an_unknown_suffix_is_refused_and_the_known_ones_named(tmp_path: Path, name: str):
    with pytest.raises(OutputError, match="known are png, jpg, jpeg, webp, avif, tif, tiff"):
        check_output_path(tmp_path / name, force=False)


def test_a_path_that_can_be_written_gives_its_format_and_leaves_no_trace(tmp_path: Path):
    assert check_output_path(tmp_path / "out.JPG", force=False) == "JPEG"
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_with_force(tmp_path: Path):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists"):
        save_image(RGB, path, provenance=None)
    assert path.read_bytes() == b"old"
    save_image(RGB, path, provenance=None, force=True)
    assert np.array_equal(read_image(path).rgb, RGB)


def test_a_dangling_link_counts_as_existing_and_is_itself_replaced(tmp_path: Path):
    link, elsewhere = tmp_path / "out.png", tmp_path / "elsewhere.png"
    link.symlink_to(elsewhere)
    with pytest.raises(OutputError, match="exists"):
        check_output_path(link, force=False)
    save_image(RGB, link, provenance=None, force=True)
    assert not link.is_symlink() and not elsewhere.exists()


def test_a_folder_or_a_pipe_is_never_replaced(tmp_path: Path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("folder.png", "pipe.png"):
        with pytest.raises(OutputError, match="is not a file"):
            check_output_path(tmp_path / name, force=True)


def test_a_missing_folder_a_file_as_folder_and_an_impossible_name_are_refused(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    for path in ("nowhere/out.png", "file/out.png", "a\0b.png", "x" * 300 + ".png"):
        with pytest.raises(OutputError, match=r"^[^\n]*\.$"):
            check_output_path(tmp_path / path, force=False)


def test_a_folder_that_takes_no_files_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("varedit.output.tempfile.TemporaryFile", refuse)  # root may write into any folder
    with pytest.raises(OutputError, match=r"cannot be written to: Permission denied\.$"):
        check_output_path(tmp_path / "out.png", force=False)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write into any folder")
def test_a_read_only_folder_is_refused(tmp_path: Path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written to"):
            check_output_path(tmp_path / "out.png", force=False)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("call", "error", "raised"),
    [
        ("fsync", OSError(errno.ENOSPC, "No space left on device"), OutputError),
        ("fsync", KeyboardInterrupt(), KeyboardInterrupt),
        ("replace", OSError(errno.EIO, "Input/output error"), OutputError),
        ("replace", KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_whatever_stops_a_write_the_old_file_is_intact_and_nothing_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException, raised: type[BaseException]
):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"varedit.output.{'os.fsync' if call == 'fsync' else 'Path.replace'}", fail)
    with pytest.raises(raised) as caught:
        save_image(RGB, path, provenance=None, force=True)
    if isinstance(error, OSError):
        assert str(caught.value) == f"{path} cannot be written: {error.strerror}."
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_keeps_its_permissions_and_a_new_one_follows_the_umask(tmp_path: Path):
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    old.write_bytes(b"")
    old.chmod(0o640)
    umask = os.umask(0o026)
    try:
        save_image(RGB, old, provenance=None, force=True)
        save_image(RGB, new, provenance=None)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640 and stat.S_IMODE(new.stat().st_mode) == 0o640
    old.chmod(0o604)
    save_image(RGB, old, provenance=None, force=True)
    assert stat.S_IMODE(old.stat().st_mode) == 0o604


@pytest.mark.parametrize(
    ("suffix", "size"), [("webp", (16384, 3)), ("webp", (3, 16384)), ("jpg", (65501, 1)), ("avif", (70000, 1))]
)
def test_a_format_that_cannot_hold_the_size_is_refused_up_front(tmp_path: Path, suffix: str, size: tuple[int, int]):
    path = tmp_path / f"out.{suffix}"
    with pytest.raises(OutputError, match=rf"{size[0]}x{size[1]} pixels, but \w+ holds sides up to \d+\. Choose PNG"):
        check_output_path(path, force=False, size=size)
    with pytest.raises(OutputError, match="holds sides up to"):
        save_image(np.zeros((size[1], size[0], 3), np.uint8), path, provenance=None)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_webp_is_written(tmp_path: Path):
    save_image(np.zeros((1, 16383, 3), np.uint8), tmp_path / "out.webp", provenance=None)
    assert read_image(tmp_path / "out.webp").width == 16383


def test_provenance_too_long_for_the_format_is_one_sentence():
    with pytest.raises(OutputError, match=r"^The result cannot be written as JPEG: .*\.$"):
        encode_image(RGB, "JPEG", provenance={"instruction": "x" * 70_000})


# --- reading provenance from files that are not ours -------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "no json", "[1]", "{", "[" * 100_000])
def test_a_foreign_text_under_our_name_is_no_provenance(tmp_path: Path, text: str):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("varedit", text)
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=info)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + text[:1000].encode()
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(RGB).save(tmp_path / "a.tif", description=f"varedit {text}")
    for name in ("a.png", "a.jpg", "a.tif"):
        assert read_provenance(tmp_path / name) is None


def test_a_missing_file_and_one_that_is_no_picture_are_errors(tmp_path: Path):
    with pytest.raises(InputMissing):
        read_provenance(tmp_path / "nothing.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match="looks like a text file"):
        read_provenance(tmp_path / "text.png")
